"""Two outputs files head to head: `import` reads the verdicts of others, `judge` asks a judge of ours.

    python -m experiments import --start base_outputs.json --policy finetuned_outputs.json \\
        --verdicts judge_base_vs_finetuned__gpt-5_2.json --name qwen-instruct --out FOLDER
    python -m experiments judge --start A.json --policy B.json --name NAME --out FOLDER [overrides, such as judge=local]

Outputs are in AlpacaEval's format, verdicts in that of `experiments.probes.imports`. Each judge gets a record of its
own in FOLDER; `python -m analysis FOLDER` makes the tables and the report. `judge` asks in both orders.
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
        add("--dry-run", action="store_true", help="print what judging would take and ask nobody")
        add("overrides", nargs="*", help="such as judge=local judge.checkpoint=Qwen/Qwen2.5-7B-Instruct")
    options = parser.parse_intermixed_args(arguments)
    try:
        outputs = read_pairs(options.start, options.policy, (options.start_label, options.policy_label))
        records = _imported(options, outputs) if command == "import" else _judged(options, outputs)
    except (ValueError, OSError, Unavailable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    from analysis import summarize

    for record in records:
        path = options.out / f"{record.run_id}.record.json"
        if path.exists():
            print(f"{path} is written anew: same name, outputs and judge", file=sys.stderr)
        write_record(path, record)
        for warning in record.warnings:
            print(f"warning: {record.judge}: {warning}", file=sys.stderr)
        print(f"{record.judge}: {summarize([record])}\nrecord: {path}")
    return 0


def _imported(options: argparse.Namespace, outputs: Outputs) -> list[RunRecord]:
    """A record for each file of verdicts; the judge is what its name has behind `__`."""
    by_judge = {path.stem.rpartition("__")[2]: path for path in options.verdicts}
    if len(by_judge) < len(options.verdicts):
        raise BadOutputs("--verdicts: two files are of one judge, which is what their names have behind `__`")
    records = []
    for judge, path in by_judge.items():
        verdicts, warnings = read_verdicts(path, outputs)
        kin = overlap_warnings({"judge": judge}, generator_parties(outputs.makers))
        records.append(imported_record(options.name, outputs, judge, verdicts, [*kin, *warnings], {}))
    return records


def _judged(options: argparse.Namespace, outputs: Outputs) -> list[RunRecord]:
    """The record of the configured judges' verdicts, in both orders; what is in the log is not asked again.

    With `--dry-run` there is none, and what judging would take is printed.
    """
    from experiments.config import composition
    from experiments.run import judging
    from experiments.run.judging_cost import PendingJudging, cost_lines

    [config] = composition.compose_cells(list(options.overrides), outputs.makers)
    settings = config.judge.settings
    warnings = judging.truncation_warnings(config, outputs.pairs)
    keys = {str(name): judging.judge_digest(node) for name, node in judging.judges(config.judge).items()}
    record = imported_record(options.name, outputs, settings["name"], [], warnings, {"judge": settings}, keys)
    path = options.out / f"{record.run_id}.verdicts.jsonl"
    if options.dry_run:
        pending = PendingJudging(record.run_id, config.judge, outputs.pairs, True, VerdictLog(path))
        print("\n".join(cost_lines([pending])))
        return []
    judging.probe([config])
    with VerdictLog(path) as log:
        verdicts = judging.collect_verdicts(config.judge, outputs.pairs, both_orders=True, log=log)
    return [replace(record, verdicts=verdicts, seconds={"judge": log.seconds})]
