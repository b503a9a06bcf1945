"""Compare two files of outputs: `import` reads verdicts made elsewhere, `judge` uses a judge of this project.

    python -m experiments import --start base_outputs.json --policy finetuned_outputs.json \\
        --verdicts judge_base_vs_finetuned__gpt-5_2.json --name qwen-instruct --out FOLDER
    python -m experiments judge --start A.json --policy B.json --name NAME --out FOLDER [overrides, such as judge=local]

Outputs are in AlpacaEval's format, verdicts in that of `experiments.probes.imports`. Each judge gets its own record in
FOLDER; `python -m analysis FOLDER` makes the tables and the report. `judge` judges each pair in both orders.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from cme import Unavailable
from cme.data.alpaca_format import BadOutputs
from cme.judges.pairwise import VerdictLog
from cme.records import RunRecord, write_record
from experiments.config.family_overlap import generator_parties, overlap_warnings
from experiments.probes.imports import Outputs, imported_record, read_pairs, read_verdicts


def main(command: Literal["judge", "import"], arguments: Sequence[str], prog: str) -> int:
    """Run `import` or `judge`; returns the exit code, 2 for files or settings that cannot be used."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--start", type=Path, required=True, metavar="FILE", help="outputs of the start, or of a baseline")
    add("--policy", type=Path, required=True, metavar="FILE", help="outputs of the trained policy")
    add("--start-label", help="what the verdicts call it; default: the file's name, without `_outputs`")
    add("--policy-label", help="the same for the policy")
    add("--name", required=True, help="what the tables call the comparison")
    add("--out", type=Path, required=True, metavar="FOLDER", help="where the records go")
    if command == "import":
        add(
            "--verdicts",
            type=Path,
            required=True,
            action="append",
            metavar="FILE",
            help="of one judge; repeatable",
        )
    else:
        add("--dry-run", action="store_true", help="print the cost of judging, without a call")
        add("overrides", nargs="*", help="such as judge=local judge.checkpoint=Qwen/Qwen2.5-7B-Instruct")
    options = parser.parse_intermixed_args(arguments)
    try:
        outputs = read_pairs(options.start, options.policy, (options.start_label, options.policy_label))
        records = _import_verdicts(options, outputs) if command == "import" else _judge(options, outputs)
    except (ValueError, OSError, Unavailable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    from analysis import summarize

    for record in records:
        path = options.out / f"{record.run_id}.record.json"
        if path.exists():
            print(f"{path} is overwritten: same name, outputs and judge", file=sys.stderr)
        write_record(path, record)
        for warning in record.warnings:
            print(f"warning: {record.judge}: {warning}", file=sys.stderr)
        print(f"{record.judge}: {summarize([record])}\nrecord: {path}")
    return 0


def _import_verdicts(options: argparse.Namespace, outputs: Outputs) -> list[RunRecord]:
    """One record per file of verdicts; the name of the file ends with `__` and the judge."""
    by_judge = {path.stem.rpartition("__")[2]: path for path in options.verdicts}
    if len(by_judge) < len(options.verdicts):
        raise BadOutputs(
            "--verdicts: two files are of one judge, which is the part of their names after `__`"
        )
    records = []
    for judge, path in by_judge.items():
        verdicts, warnings = read_verdicts(path, outputs)
        warnings = [*overlap_warnings({"judge": judge}, generator_parties(outputs.makers)), *warnings]
        records.append(imported_record(options.name, outputs, judge, verdicts, warnings, {}))
    return records


def _judge(options: argparse.Namespace, outputs: Outputs) -> list[RunRecord]:
    """The record of the configured judges' verdicts in both orders, those in the log included.

    With `--dry-run`, print the cost of judging and return no record.
    """
    from experiments.config import composition
    from experiments.run import judging

    [run] = composition.compose_cells(list(options.overrides), outputs.makers)
    settings = run.judge.settings
    warnings = judging.truncation_warnings(run, outputs.pairs)
    members = judging.judges(run.judge).items()
    digests = {str(name): judging.judge_digest(member) for name, member in members}
    record = imported_record(
        options.name, outputs, settings["name"], [], warnings, {"judge": settings}, digests
    )
    path = options.out / f"{record.run_id}.verdicts.jsonl"
    if options.dry_run:
        pending = judging.PendingJudging(record.run_id, run.judge, outputs.pairs, True, VerdictLog(path))
        print("\n".join(judging.cost_lines([pending])))
        return []
    judging.probe([run])
    with VerdictLog(path) as log:
        verdicts = judging.collect_verdicts(run.judge, outputs.pairs, both_orders=True, log=log)
    return [replace(record, verdicts=verdicts, seconds={"judge": log.seconds})]
