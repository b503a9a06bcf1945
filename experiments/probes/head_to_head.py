"""Compare responses: `judge` uses a judge of this project, `import` reads verdicts made elsewhere.

    cme judge RUN --judge local
    cme judge --start a.json --policy b.json --judge local
    cme import FOLDER
    cme import --start base_outputs.json --policy finetuned_outputs.json --verdicts base_vs_finetuned__gpt-5_2.json

`judge` judges each pair in both orders. RUN is a finished run: its folder, its record file, or its id. Its record gets
the judge's verdicts beside those that it has. If the judge fails a sanity check (`cme run experiment=judge_sanity`),
the line of the result gives no verdict. The checks are those in your results, or else those that ship with the code.

Outputs are in AlpacaEval's format, verdicts in that of `experiments.probes.imports`. A folder has files of verdicts
and, for each label that they compare, the outputs LABEL_outputs.json or LABEL.json. Each judge gets its own record for
each comparison; `cme analyze` makes the tables and the report.
"""

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from cme.data.alpaca_format import BadOutputs
from cme.data.prompt_file import read_prompts
from cme.judges.pairwise import VerdictLog
from cme.records import Pair, RunRecord, SanityRecord, read_record, write_record
from cme.runtime.command_line import DONE, FAILED
from cme.runtime.shipped import CHECKS, RUN
from cme.runtime.terminal import plain
from experiments.config import identity
from experiments.config.family_overlap import generator_parties, overlap_warnings
from experiments.probes.imports import imported_record, read_pairs, read_verdicts, verdict_labels


def main(command: Literal["judge", "import"], arguments: Sequence[str], prog: str) -> int:
    """Run `import` or `judge`; returns the exit code, 1 if no verdict is scored.

    Raises ValueError, OSError and Unavailable for files and settings that cannot be used.
    """
    parser = _parser(command, prog)
    options = parser.parse_intermixed_args(arguments)
    out = options.out or Path("comparisons")
    if command == "import":
        return _write_all(out, _import(options), judged=False)
    runs = [word for word in options.words if "=" not in word]
    overrides = [f"judge={options.judge}"] if options.judge else []
    overrides += [word for word in options.words if "=" in word]
    if not runs and (options.start is None or options.policy is None):
        parser.error("give a finished run, or two files of outputs with --start and --policy")
    if not runs:
        return _write_all(out, _judge(options, overrides, out), judged=True)
    of_files = ("start", "policy", "start_label", "policy_label", "name", "prompts", "out")
    if given := [name for name in of_files if getattr(options, name) is not None]:
        parser.error(f"--{given[0].replace('_', '-')} is for files of outputs, and {runs[0]} is a run")
    if len(runs) > 1 or not any(word.startswith("judge=") for word in overrides):
        parser.error("give one run, and its other judge with --judge NAME")
    from experiments.probes import further_judge

    found = further_judge.judge_run(runs[0], overrides, options.dry_run)
    return DONE if found is None else _report([found], found[0].parent.parent, judged=True)


def _write_all(folder: Path, records: Sequence[RunRecord], judged: bool) -> int:
    """Write the records of comparisons and print their results; returns the exit code."""
    written = []
    for record in records:
        path = folder / f"{record.run_id}.record.json"
        if path.exists():
            print(f"{path} is overwritten: same name, outputs and judge", file=sys.stderr)
        write_record(path, record)
        written.append((path, record))
    return _report(written, Path("results/runs"), judged)


def _report(written: Sequence[tuple[Path, RunRecord]], results: Path, judged: bool) -> int:
    """Print the result of each record and where it lies; returns the exit code, 1 if no verdict is scored.

    `results` is the folder of the results that may have sanity checks of the judges.
    """
    from analysis import check_judges, summarize
    from analysis.tables.judging.judges import judge_standing, settings_by_judge
    from experiments.run import judging

    for path, record in written:
        for warning in record.warnings:
            print(plain(f"warning: {record.judge}: {warning}"), file=sys.stderr)
        checked = check_judges(_sanity_checks(record, results))
        result = summarize([record], checked)
        # of several judges, each line has the name
        name = "" if "\n" in result else f"{plain(record.judge)}: "
        print(f"{name}{result}\nrecord: {path}")
        standings = {judge_standing(name, [record], checked) for name in settings_by_judge(record)}
        if judged and "unchecked" in standings:
            command = f"{RUN} experiment=judge_sanity scale=laptop judge={record.judge}"
            print(
                plain(f"{record.judge} is not validated: `{command}`, with the same settings, checks it"),
                file=sys.stderr,
            )
        message = judging.unscored_message(record.verdicts) if judged else None
        if message is not None:
            print(plain(f"{record.judge}: {message}"), file=sys.stderr)
    if not written or any(v.outcome != "unscored" for _, record in written for v in record.verdicts):
        return DONE
    print("no verdict is scored, so there is no win rate", file=sys.stderr)
    return FAILED


def _sanity_checks(record: RunRecord, results: Path) -> list[SanityRecord]:
    """The checks in `results` of a judge with the record's settings; without any there, those that are shipped."""
    from analysis.tables.judging.judges import settings_by_judge

    settings = settings_by_judge(record)
    for files in (results.glob("sanity-*/sanity.json"), CHECKS.glob("*.sanity.json")):
        checks = [read_record(path, SanityRecord) for path in sorted(files)]
        if same := [check for check in checks if settings_by_judge(check) == settings]:
            return same
    return []


def _parser(command: Literal["judge", "import"], prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--start", type=Path, metavar="FILE", help="outputs of the start, or of a baseline")
    add("--policy", type=Path, metavar="FILE", help="outputs of the trained policy")
    add("--start-label", help="a name for it; default: that of its file, without `_outputs`")
    add(
        "--policy-label",
        help="a name for the policy, as --start-label; for a folder: the label in its files that is the policy",
    )
    add("--name", help="what the tables call the comparison; default: the folder of the outputs")
    add(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="folder of the records; default: comparisons",
    )
    if command == "import":
        add("folder", type=Path, nargs="?", help="with files of outputs and of verdicts on them")
        add(
            "--verdicts",
            type=Path,
            default=[],
            action="append",
            metavar="FILE",
            help="a file of one judge's verdicts; may be given several times",
        )
    else:
        add(
            "--prompts",
            type=Path,
            metavar="FILE",
            help="reference answers (`output`) and gold answers (`answer`) of the prompts, as for data=file",
        )
        add("--dry-run", action="store_true", help="print the cost of judging, without a call")
        add("--judge", metavar="NAME", help="short for judge=NAME: a judge of conf/judge, such as local")
        add(
            "words",
            nargs="*",
            metavar="RUN | KEY=VALUE",
            help="a finished run; settings, such as judge.checkpoint=Qwen/Qwen2.5-7B-Instruct",
        )
    return parser


def _import(options: argparse.Namespace) -> list[RunRecord]:
    """The records of a folder's comparisons, or of the only one that the options name."""
    files = (options.start, options.policy, *options.verdicts)
    if options.folder is not None:
        if any(files):
            raise BadOutputs("give either a folder, or --start, --policy and --verdicts")
        return [
            record
            for (start, policy), verdicts in _folder_comparisons(options.folder, options.policy_label).items()
            for record in _import_verdicts(
                options.name or options.folder.resolve().name, start, policy, verdicts
            )
        ]
    if options.start is None or options.policy is None or not options.verdicts:
        raise BadOutputs("give a folder, or all of --start, --policy and --verdicts")
    start, policy = (options.start_label, options.start), (options.policy_label, options.policy)
    return _import_verdicts(_name(options), start, policy, options.verdicts)


Side = tuple[str | None, Path]
"""A label and a file of outputs."""


def _folder_comparisons(folder: Path, policy_label: str | None) -> dict[tuple[Side, Side], list[Path]]:
    """The files of verdicts in a folder by the outputs of start and policy that they compare.

    The policy is the one with `policy_label`; without it, the only one in all comparisons; otherwise the second.
    """
    compared = {path: labels for path in sorted(folder.glob("*.json")) if (labels := verdict_labels(path))}
    if not compared:
        raise BadOutputs(f"{folder} has no file of verdicts: JSON with label_a, label_b and per_sample")
    if policy_label is None:
        common = set.intersection(*map(set, compared.values()))
        policy_label = common.pop() if len(common) == 1 else None
    elif not any(policy_label in labels for labels in compared.values()):
        present = sorted({label for labels in compared.values() for label in labels})
        raise BadOutputs(f"no file in {folder} compares {policy_label!r}, only {', '.join(present)}")
    comparisons: defaultdict[tuple[Side, Side], list[Path]] = defaultdict(list)
    for path, (a, b) in compared.items():
        start, policy = (b, a) if a == policy_label else (a, b)
        comparisons[(start, _outputs(folder, start)), (policy, _outputs(folder, policy))].append(path)
    return dict(comparisons)


def _outputs(folder: Path, label: str) -> Path:
    """The file of a label's outputs."""
    if Path(label).name != label:
        raise BadOutputs(
            f"{folder} has verdicts on {label!r}, which names a file elsewhere; rename the label"
        )
    places = [folder / f"{label}_outputs.json", folder / f"{label}.json"]
    if not (found := [place for place in places if place.is_file()]):
        raise BadOutputs(
            f"{folder} has verdicts on {label!r}, but neither {places[0].name} nor {places[1].name}"
        )
    return found[0]


def _import_verdicts(name: str, start: Side, policy: Side, files: Iterable[Path]) -> list[RunRecord]:
    """One record per file of verdicts; the name of the file ends with `__` and the judge."""
    outputs = read_pairs(start[1], policy[1], (start[0], policy[0]))
    judges = Counter(path.stem.rpartition("__")[2] for path in files)
    if repeated := [judge for judge, count in judges.items() if count > 1]:
        raise BadOutputs(
            f"two files are of one judge, {repeated[0]!r}, which is the part of their names after `__`"
        )
    records = []
    for judge, path in zip(judges, files, strict=True):
        verdicts, warnings = read_verdicts(path, outputs)
        warnings = [*overlap_warnings({"judge": judge}, generator_parties(outputs.makers)), *warnings]
        records.append(imported_record(name, outputs, judge, verdicts, warnings, {}))
    return records


def _judge(options: argparse.Namespace, overrides: list[str], out: Path) -> list[RunRecord]:
    """The record of the configured judges' verdicts in both orders, those in the log included.

    With `--dry-run`, print the cost of judging and return no record.
    """
    from experiments.config import composition
    from experiments.probes import further_judge
    from experiments.run import judging

    further_judge.refuse_others(overrides, ("data=", "data."), "of the judge and its data")
    outputs = read_pairs(options.start, options.policy, (options.start_label, options.policy_label))
    if options.prompts is not None:
        outputs = replace(outputs, pairs=_add_answers(outputs.pairs, options.prompts))
    [run] = composition.compose_cells(overrides, generator_parties(outputs.makers))
    remedy = "give references and gold answers with --prompts, or use another judge, such as judge=local"
    warnings = judging.check_pairs(run.judge, outputs.pairs, "the pairs", remedy)
    warnings += judging.truncation_warnings(run, outputs.pairs)
    members = judging.judges(run.judge).items()
    digests = {str(name): judging.judge_digest(member) for name, member in members}
    if options.prompts is not None:
        digests["prompts"] = identity.digest([[p.reference, p.answer] for p in outputs.pairs])
    config = {"judge": run.judge.settings}
    record = imported_record(_name(options), outputs, run.judge.name, [], warnings, config, digests)
    log = VerdictLog(out / f"{record.run_id}.verdicts.jsonl")
    if options.dry_run:
        print(plain("\n".join(judging.cost_lines(record.run_id, run.judge, outputs.pairs, log))))
        return []
    verdicts = further_judge.collect(run, outputs.pairs, log)
    neutral = identity.neutral_fields(run)
    return [replace(record, verdicts=verdicts, seconds={"judge": log.seconds}, neutral=neutral)]


def _add_answers(pairs: Sequence[Pair], prompts: Path) -> list[Pair]:
    """The pairs with the references and gold answers of a file of prompts."""
    by_text = {prompt.text: prompt for prompt in read_prompts(str(prompts))}
    if not any(pair.prompt in by_text for pair in pairs):
        raise BadOutputs(
            f"{prompts} and the outputs have no prompt in common: both must have the same instructions"
        )
    return [
        replace(pair, reference=prompt.reference, answer=prompt.answer)
        if (prompt := by_text.get(pair.prompt)) is not None
        else pair
        for pair in pairs
    ]


def _name(options: argparse.Namespace) -> str:
    """What the tables call the comparison."""
    folder: Path = options.policy.resolve().parent
    return options.name or folder.name
