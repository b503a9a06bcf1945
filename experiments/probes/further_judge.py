"""`cme judge`: a judge on responses that exist, of a finished run or in two files of outputs.

Policy and untrained model are compared in both orders. The record of a finished run keeps its own judge; further judges
are added under their names.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cme.data.alpaca_format import BadOutputs
from cme.data.prompt_file import read_prompts
from cme.judges.pairwise import VerdictLog
from cme.records import (
    FurtherJudge,
    Pair,
    RunRecord,
    Verdict,
    explain_write_errors,
    read_record,
    write_record,
)
from cme.runtime.files import check_links
from cme.runtime.terminal import plain
from experiments.config import composition, identity
from experiments.config.family_overlap import Party, generator_parties
from experiments.config.runs import Run, reward_verifiers
from experiments.config.validation import BadConfig, validate
from experiments.probes.imports import SCALE, imported_record, read_pairs
from experiments.run import judging
from experiments.run.cell import run_lock
from experiments.run.store import RECORD
from experiments.run.twin import find_judged, judge_settings

ACCEPTED = ("judge=", "judge.", "judge/", "trusted_packages=")
"""How the settings begin that `cme judge` accepts for every kind of responses."""


def judge_run(name: str, overrides: Sequence[str], dry_run: bool) -> tuple[Path, RunRecord] | None:
    """Add a judge's verdicts to a run's record; return its path, and the record as if this judge were its only one.

    Unscored verdicts of the same judge are requested again. None with `dry_run`, which prints the cost, and for a judge
    that has judged the run before, which is printed. Raises BadConfig, Unavailable, and BadFile for a record or a log
    that cannot be read.
    """
    _refuse_others(overrides, ("results_dir=",), "of the judge")
    path = _find_record(name, overrides)
    check_links(path.parent)
    with run_lock(path.parent):
        record = read_record(path)
        if not record.pairs:
            raise BadConfig(f"{path} has no responses: another run must be judged")
        parties, data = _parties(record), _data_settings(record, path)
        words = [f"data={data['name']}"] if data else []
        [run] = composition.compose_cells([*words, *overrides], parties, data)
        own = identity.judge_fields(run.judge)
        earlier = _earlier_judge(record, run.judge.name, own)
        if earlier is not None and all(v.outcome != "unscored" for v in earlier.verdicts):
            judged = f"{record.run_id} was judged by {run.judge.name} with these settings before"
            print(plain(f"{judged}: nothing to do"))
            return None
        if (other := find_judged(path.parent, record, run.judge.name, own)) is not None:
            print(plain(f"{other.run_id} has the same responses and this judge's verdicts: nothing to do"))
            return None
        remedy = "use another judge, such as judge=local"
        lacking = judging.check_pairs(run.judge, record.pairs, f"the pairs of {record.run_id}", remedy)
        log = VerdictLog(path.with_name(f"{path.name.removesuffix(RECORD)}verdicts-{run.judge.name}.jsonl"))
        verdicts = _collect(
            run, record.run_id, record.pairs, log, dry_run, earlier.verdicts if earlier else ()
        )
        if verdicts is None:
            return None
        further = FurtherJudge(run.judge.name, own, verdicts, log.seconds)
        others = [judge for judge in record.further_judges or [] if judge.name != further.name]
        warnings = [*validate(run, parties), *lacking, *judging.truncation_warnings(run, record.pairs)]
        new = (f"further judge {further.name}: {warning}" for warning in warnings)
        added = replace(
            record,
            further_judges=[*others, further],
            warnings=[*record.warnings, *(warning for warning in new if warning not in record.warnings)],
        )
        write_record(path, added)
    return path, replace(
        record,
        judge=further.name,
        config=record.config | {"judge": run.judge.settings},
        neutral=identity.neutral_fields(run),
        verdicts=verdicts,
        further_judges=None,
        warnings=warnings,
    )


def judge_files(options: argparse.Namespace, overrides: list[str], out: Path) -> RunRecord | None:
    """The record of the configured judges' verdicts on two files of outputs, those in the log in `out` included.

    None with `--dry-run`, which prints the cost. Raises as `judge_run` does, and BadOutputs.
    """
    _refuse_others(overrides, ("data=", "data."), "of the judge and its data")
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
    record = imported_record(options.name, outputs, run.judge.name, config, digests)
    log = VerdictLog(out / f"{record.run_id}.verdicts.jsonl")
    verdicts = _collect(run, record.run_id, outputs.pairs, log, options.dry_run)
    if verdicts is None:
        return None
    return replace(
        record,
        verdicts=verdicts,
        warnings=[*record.warnings, *warnings],
        seconds={"judge": log.seconds},
        neutral=identity.neutral_fields(run),
    )


def _refuse_others(overrides: Sequence[str], more: tuple[str, ...], kind: str) -> None:
    """Raise BadConfig for an override without effect: one that begins with none of ACCEPTED and `more`.

    `kind` says in the message which settings are accepted.
    """
    if refused := [word for word in overrides if not word.lstrip("+~").startswith((*ACCEPTED, *more))]:
        raise BadConfig(
            f"{refused[0]}: only settings {kind} can be given, such as judge=local judge.checkpoint=..., since the "
            "responses exist already; --dry-run prints calls and money"
        )


def _find_record(name: str, overrides: Sequence[str]) -> Path:
    """The record of a run, given by its folder, by the file itself, or by the run's id in `results_dir`."""
    folders = [word.partition("=")[2] for word in overrides if word.startswith("results_dir=")]
    results = Path(folders[-1] if folders else "results/runs")
    for place in (Path(name), results / name):
        if place.is_file():
            return place
        if (place / RECORD).is_file():
            return place / RECORD
        if place.is_dir():
            raise BadConfig(f"{place} has no {RECORD}: give the folder of a finished run")
    raise BadConfig(
        f"{name} is not a run: give the folder of a finished run, its record file, or its id in results_dir={results}"
    )


def _parties(record: RunRecord) -> list[Party]:
    """The models that made the responses of a record, and the verifiers that they were trained with."""
    if record.scale == SCALE:
        return generator_parties(f"{record.generator_checkpoint}, {record.environment['policy']}".split(", "))
    parties: list[Party] = [("generator", record.family, [record.generator_checkpoint])]
    verifiers = reward_verifiers(record.config.get("reward", {}))
    return parties + ([("verifier", record.config["verifier"]["family"], verifiers)] if verifiers else [])


def _data_settings(record: RunRecord, path: Path) -> dict[str, Any] | None:
    """The settings of a record's data; None without any. Raises BadConfig for settings that no run writes down."""
    data: dict[str, Any] | None = record.config.get("data")
    if data is not None and not isinstance(data.get("name"), str):
        raise BadConfig(
            f"{path}: config.data.name is {str(data.get('name'))[:80]}; it must be the name of the data"
        )
    if "${" in json.dumps(data):
        raise BadConfig(f"{path}: config.data has an interpolation; a record has values alone")
    return data


def _earlier_judge(record: RunRecord, name: str, settings: dict[str, Any]) -> FurtherJudge | None:
    """The judge of a record with this name and these settings; None if no judge has the name.

    Raises BadConfig if the judge with this name has other settings.
    """
    known = {further.name: further for further in record.further_judges or []}
    if name == record.judge:
        known[name] = FurtherJudge(name, judge_settings(record), [], 0.0)
    if name not in known:
        return None
    recorded = known[name].settings
    if different := sorted(key for key in recorded | settings if recorded.get(key) != settings.get(key)):
        raise BadConfig(
            f"{record.run_id} has verdicts of another judge called {name}, with other settings "
            f"({', '.join(different)}); give this one a name of its own, such as judge.name={name}_2"
        )
    return known[name]


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


def _collect(
    run: Run, name: str, pairs: Sequence[Pair], log: VerdictLog, dry_run: bool, known: Sequence[Verdict] = ()
) -> list[Verdict] | None:
    """The verdicts of the run's judge in both orders, after a trial call; see `judging.collect_verdicts`.

    None with `dry_run`, which prints the cost of judging the pairs called `name`.
    """
    if dry_run:
        print(plain("\n".join(judging.cost_lines(name, run.judge, pairs, log))))
        return None
    with explain_write_errors(log.path.parent):  # before any call
        log.path.parent.mkdir(parents=True, exist_ok=True)
    judging.probe([run])
    with log:
        return judging.collect_verdicts(run.judge, pairs, True, log, known)
