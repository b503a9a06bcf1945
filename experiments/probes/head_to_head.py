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
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from cme.data.alpaca_format import BadOutputs
from cme.records import RunRecord, SanityRecord, read_record, write_record
from cme.runtime.command_line import DONE, FAILED
from cme.runtime.shipped import CHECKS, RUN
from cme.runtime.terminal import plain
from experiments.config.family_overlap import generator_parties, overlap_warnings
from experiments.probes.imports import imported_record, read_pairs, read_verdicts, verdict_labels

Side = tuple[str | None, Path]
"""A label and a file of outputs."""


def main(command: Literal["judge", "import"], arguments: Sequence[str], prog: str) -> int:
    """Run `import` or `judge`; returns the exit code, 1 if no verdict is scored.

    Raises ValueError, OSError and Unavailable for files and settings that cannot be used.
    """
    parser = _parser(command, prog)
    options = parser.parse_intermixed_args(arguments)
    out = options.out or Path("comparisons")
    if options.policy is not None:
        options.name = options.name or options.policy.resolve().parent.name
    if command == "import":
        return _report([_write(out, record) for record in _import(options)])
    from experiments.probes import further_judge

    runs = [word for word in options.words if "=" not in word]
    overrides = [f"judge={options.judge}"] if options.judge else []
    overrides += [word for word in options.words if "=" in word]
    if not runs and (options.start is None or options.policy is None):
        parser.error("give a finished run, or two files of outputs with --start and --policy")
    if not runs:
        judged = further_judge.judge_files(options, overrides, out)
        return DONE if judged is None else _report([_write(out, judged)], judged=True)
    of_files = ("start", "policy", "start_label", "policy_label", "name", "prompts", "out")
    if given := [name for name in of_files if getattr(options, name) is not None]:
        parser.error(f"--{given[0].replace('_', '-')} is for files of outputs, and {runs[0]} is a run")
    if len(runs) > 1 or not any(word.startswith("judge=") for word in overrides):
        parser.error("give one run, and its other judge with --judge NAME")
    found = further_judge.judge_run(runs[0], overrides, options.dry_run)
    return DONE if found is None else _report([found], found[0].parent.parent, judged=True)


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
    add("--out", type=Path, metavar="FOLDER", help="folder of the records; default: comparisons")
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


def _write(folder: Path, record: RunRecord) -> tuple[Path, RunRecord]:
    """Write the record of a comparison; returns its path and the record."""
    path = folder / f"{record.run_id}.record.json"
    if path.exists():
        print(f"{path} is overwritten: same name, outputs and judge", file=sys.stderr)
    write_record(path, record)
    return path, record


def _report(
    written: Sequence[tuple[Path, RunRecord]], results: Path = Path("results/runs"), judged: bool = False
) -> int:
    """Print the result of each record and where it lies; returns the exit code, 1 if no verdict is scored.

    Args:
        written: The records with their paths.
        results: The folder of the results that may have sanity checks of the judges.
        judged: Whether the verdicts are those of a judge of this project.
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
        if not judged:
            continue
        standings = {judge_standing(name, [record], checked) for name in settings_by_judge(record)}
        if "unchecked" in standings:
            command = f"{RUN} experiment=judge_sanity scale=laptop judge={record.judge}"
            message = f"{record.judge} is not validated: `{command}`, with the same settings, checks it"
            print(plain(message), file=sys.stderr)
        if (unscored := judging.unscored_message(record.verdicts)) is not None:
            print(plain(f"{record.judge}: {unscored}"), file=sys.stderr)
    if any(v.outcome != "unscored" for _, record in written for v in record.verdicts):
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


def _import(options: argparse.Namespace) -> list[RunRecord]:
    """The records of a folder's comparisons, or of the only one that the options name."""
    files = (options.start, options.policy, *options.verdicts)
    if options.folder is not None:
        if any(files):
            raise BadOutputs("give either a folder, or --start, --policy and --verdicts")
        name = options.name or options.folder.resolve().name
        comparisons = _folder_comparisons(options.folder, options.policy_label)
    else:
        if options.start is None or options.policy is None or not options.verdicts:
            raise BadOutputs("give a folder, or all of --start, --policy and --verdicts")
        name = options.name
        sides = (options.start_label, options.start), (options.policy_label, options.policy)
        comparisons = {sides: options.verdicts}
    return [
        record
        for (start, policy), verdicts in comparisons.items()
        for record in _import_verdicts(name, start, policy, verdicts)
    ]


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
    names = (f"{label}_outputs.json", f"{label}.json")
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise BadOutputs(f"{folder} has verdicts on {label!r}, but neither {' nor '.join(names)}")


def _import_verdicts(name: str, start: Side, policy: Side, files: Sequence[Path]) -> list[RunRecord]:
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
        overlap = overlap_warnings({"judge": judge}, generator_parties(outputs.makers))
        record = imported_record(name, outputs, judge)
        records.append(replace(record, verdicts=verdicts, warnings=[*record.warnings, *overlap, *warnings]))
    return records
