"""Checkpoint selection, kept apart from evaluation: prompts of its own, a judge of its own.

Every saved checkpoint, the final policy among them, meets the untrained start on the selection prompts. The one with
the highest win rate there is selected, the earliest of equals, and answers the evaluation prompts too. They are ranked
on the prompts whose verdicts are all scored, of every one of them. The final policy's evaluation stays the run's
result; the selected one's stands beside it.
"""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cme.checkpoints import load
from cme.judges.pairwise import VerdictLog
from cme.models.generation_log import GenerationLog
from cme.records import CheckpointResult, Generation, Pair, Prompt, Selected, Trajectory, Verdict, points
from cme.training.job import checkpoint_folder
from experiments.config import identity
from experiments.config.components import Component
from experiments.config.runs import Run
from experiments.config.validation import BadConfig
from experiments.run import accuracy, inputs, judging
from experiments.run.responses import respond
from experiments.run.stage import cached_stage
from experiments.run.stage import locked_cached_stage as shared
from experiments.run.store import Store


@dataclass(frozen=True)
class Meeting:
    """A checkpoint's responses and the verdicts on them."""

    responses: list[Generation]
    verdicts: list[Verdict]


@dataclass(frozen=True)
class Selection:
    """What the stage leaves: the whole trajectory, the selected checkpoint, the seconds it took, and warnings."""

    trajectory: Trajectory
    selected: Selected | None
    seconds: float
    warnings: list[str]


def selection_prompts(config: Run) -> list[Prompt]:
    """The selection prompts. Where their split is the evaluation's own, they are drawn from what it leaves.

    Raises BadConfig where there are too few and where one of them is an evaluation or a training prompt.
    """
    data, chosen = config.data, config.selection
    evaluated = {p.id for p in inputs.load_prompts(data, data.eval_split, data.eval_prompts)}
    where = f"selection.split={chosen.split}, selection.prompts={chosen.prompts}"
    try:
        if chosen.split == data.eval_split:
            # among so many draws without replacement, at least chosen.prompts are not the evaluation's
            drawn = inputs.load_prompts(data, chosen.split, data.eval_prompts + chosen.prompts)
            return [p for p in drawn if p.id not in evaluated][: chosen.prompts]
        found = inputs.load_prompts(data, chosen.split, chosen.prompts)
    except BadConfig as error:
        raise BadConfig(f"{where}: {error}") from error
    trained = {p.id for p in inputs.load_prompts(data, data.train_split, data.train_prompts)}
    for taken, use in ((evaluated, "evaluation"), (trained, "training")):
        if shared := [p.id for p in found if p.id in taken]:
            raise BadConfig(
                f"{where}: {len(shared)} of these are {use} prompts too, such as {shared[0]}; selection needs prompts "
                f"of its own, such as those of selection.split={data.eval_split} that evaluation leaves"
            )
    return found


def compared_steps(config: Run, last: int) -> list[int]:
    """The steps whose policies are compared: the saved ones before the last, and the last."""
    assert config.selection.every is not None
    return [*range(config.selection.every, last, config.selection.every), last]


def run(
    config: Run, store: Store, weights: dict[str, str], trained: dict[str, Any], pairs: list[Pair]
) -> Selection | None:
    """The trajectory of a finished training and its selected checkpoint; None where selection is off."""
    if config.selection.every is None:
        return None
    asked = selection_prompts(config)
    made_of = [weights[config.generator], [asdict(p) for p in asked]]
    path = store.starts / f"{identity.start_id(config)}-selection-{identity.digest(made_of)}.json"
    before = shared(path, made_of, partial(_responses, config, config.generator, asked))
    last = int(trained["history"]["step"][-1])
    places = {step: checkpoint_folder(store.checkpoint, step) for step in compared_steps(config, last)} | {
        last: store.checkpoint
    }
    start = [Generation(**b) for b in before["value"]]
    stages = {}
    for step, place in places.items():
        answer = partial(_responses, config, str(place), asked)
        stages[step] = cached_stage(
            store.selection / f"step-{step}.json", [trained, before["value"], made_of], answer
        )
    with VerdictLog(store.selection / "verdicts.jsonl") as log:
        met = {
            step: _meet(config, config.selection.judge, asked, start, stage["value"], log)
            for step, stage in stages.items()
        }
    trajectory = _trajectory(config, asked, start, met)
    responses = [*start, *(response for meeting in met.values() for response in meeting.responses)]
    warnings = _narrowed(trajectory) + judging.unread_warnings(
        config.selection.judge, responses, [p.reference for p in asked], "selection.judge"
    )
    chosen = best_step(trajectory)
    selected = None if chosen is None else Selected(chosen, None, None)
    seconds = before["seconds"] + sum(stage["seconds"] for stage in stages.values()) + log.seconds
    if chosen is not None and chosen != last:
        evaluated = [Prompt(p.prompt_id, p.prompt, p.answer, p.reference) for p in pairs]
        answer = partial(_responses, config, str(places[chosen]), evaluated)
        stage = cached_stage(
            store.selection / "selected.json", [trained, chosen, [asdict(p) for p in pairs]], answer
        )
        # the run's own log, since its judge has one budget for both
        with VerdictLog(store.verdicts) as log:
            before_it = log.seconds
            meeting = _meet(config, config.judge, evaluated, [p.start for p in pairs], stage["value"], log)
        selected = Selected(chosen, meeting.responses, meeting.verdicts)
        seconds += stage["seconds"] + log.seconds - before_it
        warnings += judging.unread_warnings(
            config.judge, meeting.responses, [], whose="of the selected checkpoint's"
        )
    return Selection(trajectory, selected, seconds, warnings)


def best_step(trajectory: Trajectory) -> int | None:
    """The step with the highest win rate on the prompts that all checkpoints have scored whole, the earliest of equals.

    None where there is no such prompt.
    """
    points, whole = _scored(trajectory)
    if not whole.any():
        return None
    rates = points[:, whole].mean(axis=(1, 2))
    return trajectory.milestones[int(rates.argmax())].step


def _scored(trajectory: Trajectory) -> tuple[np.ndarray, np.ndarray]:
    """Points (checkpoints, prompts, verdicts), NaN where unscored, and which prompts are scored whole by all of them.

    A prompt with a verdict unscored counts nowhere, so that a judge's taste for a place is no win (`metrics`).
    """
    points = np.array([m.points for m in trajectory.milestones], dtype=float)
    return points, ~np.isnan(points).any(axis=(0, 2))


def _narrowed(trajectory: Trajectory) -> list[str]:
    """A warning where unscored verdicts leave less to select by, or nothing."""
    points, whole = _scored(trajectory)
    if whole.all():
        return []
    kept, total = points[0, whole].size, points[0].size
    found = f"the checkpoints have {kept} of {total} selection verdicts scored in common"
    return [f"{found}, and were compared by these" if kept else f"{found}: none was selected"]


def delete_saved_checkpoints(config: Run, store: Store) -> None:
    """Delete the saved checkpoints unless they are kept; the final policy stays."""
    if not config.selection.keep:
        for folder in store.checkpoint.glob("step-*"):
            shutil.rmtree(folder)


def _responses(
    config: Run, checkpoint: str, asked: Sequence[Prompt], log: GenerationLog
) -> list[dict[str, Any]]:
    progress = f"answers of {Path(checkpoint).name}"
    said = respond(config, load(checkpoint), asked, progress=progress, log=log)
    return [asdict(r) for r in said]


def _meet(
    config: Run,
    judge: Component,
    asked: Sequence[Prompt],
    start: Sequence[Generation],
    responses: Sequence[dict[str, Any]],
    log: VerdictLog,
) -> Meeting:
    """The judge's verdicts on a checkpoint's responses to some prompts against the start's."""
    after = [Generation(**r) for r in responses]
    prompts = accuracy.judged_prompts(config, asked)
    pairs = [
        Pair(p.id, p.text, p.reference, b, a, p.answer) for p, b, a in zip(prompts, start, after, strict=True)
    ]
    return Meeting(after, judging.collect_verdicts(judge, pairs, config.evaluation.both_orders, log))


def _trajectory(
    config: Run,
    asked: Sequence[Prompt],
    start: Sequence[Generation],
    met: dict[int, Meeting],
) -> Trajectory:
    oracle = config.load_oracle()

    def quality(responses: Sequence[Generation]) -> list[float] | None:
        if oracle is None:
            return None
        graded = zip(asked, responses, strict=True)
        return [round(oracle(p.text, r.response, bool(r.finished)), 6) for p, r in graded]

    def milestone_of(step: int, meeting: Meeting) -> CheckpointResult:
        by_prompt: dict[str, list[float | None]] = {p.id: [] for p in asked}
        for verdict in meeting.verdicts:
            by_prompt[verdict.prompt_id].append(None if verdict.outcome == "unscored" else points(verdict))
        reasons = Counter(v.reason for v in meeting.verdicts if v.reason is not None)
        return CheckpointResult(
            step,
            list(by_prompt.values()),
            quality(meeting.responses),
            dict(reasons),
        )

    return Trajectory(
        judge=config.selection.judge.name,
        prompts=[p.id for p in asked],
        start_quality=quality(start),
        milestones=[milestone_of(step, meeting) for step, meeting in met.items()],
    )
