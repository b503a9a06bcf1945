"""Checkpoint selection, separate from evaluation: it has its own prompts and its own judge.

Every saved checkpoint, and the final policy, is compared with the untrained start on the selection prompts. The one
with the highest win rate is selected, the earliest on ties, over the prompts whose verdicts are scored for all of them.
The selected checkpoint answers the evaluation prompts too. The run's result remains that of the final policy.
"""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cme import Unavailable
from cme.checkpoints import Checkpoint, load
from cme.judges.pairwise import VerdictLog
from cme.records import (
    CheckpointResult,
    Generation,
    Pair,
    Prompt,
    Selected,
    Trajectory,
    Verdict,
    explain_write_errors,
    points,
)
from cme.training.job import checkpoint_folder
from experiments.config import identity
from experiments.config.runs import Run
from experiments.config.validation import BadConfig, as_bad_config
from experiments.run import cell, inputs, judging
from experiments.run.evaluation import cached_responses, load_generator, make_pairs, true_quality
from experiments.run.store import Store


def selection_prompts(run: Run) -> list[Prompt]:
    """The selection prompts, drawn from the others of the evaluation's split if their split is the same.

    Raises BadConfig if there are too few, or if one of them is an evaluation or a training prompt.
    """
    data, wanted = run.data, run.selection
    evaluation = {p.id for p in inputs.evaluation_prompts(run)}
    field = f"selection.split={wanted.split}, selection.prompts={wanted.prompts}"
    with as_bad_config(field):
        if wanted.split == data.eval_split:
            # a draw of this size without replacement has at least wanted.prompts that evaluation does not use
            drawn = inputs.load_prompts(data, wanted.split, data.eval_prompts + wanted.prompts)
            return [p for p in drawn if p.id not in evaluation][: wanted.prompts]
        prompts = inputs.load_prompts(data, wanted.split, wanted.prompts)
    training = {p.id for p in inputs.training_prompts(run)}
    for used, purpose in ((evaluation, "evaluation"), (training, "training")):
        if common := [p.id for p in prompts if p.id in used]:
            raise BadConfig(
                f"{field}: {len(common)} of these are {purpose} prompts too, such as {common[0]}; use another split, "
                f"or selection.split={data.eval_split} for prompts that evaluation does not use"
            )
    return prompts


class Selection(NamedTuple):
    """The outcome of a selection for the record; `seconds` is None if selection is off."""

    trajectory: Trajectory | None = None
    selected: Selected | None = None
    seconds: float | None = None
    warnings: Sequence[str] = ()


def select_checkpoint(
    run: Run, store: Store, weights: dict[str, str], training: dict[str, Any], pairs: list[Pair]
) -> Selection:
    """Compare the checkpoints of a finished training, and evaluate the selected one."""
    if run.selection.every is None:
        return Selection()
    prompts = selection_prompts(run)
    origin = [weights[run.generator], [asdict(p) for p in prompts]]
    path = store.starts / f"{identity.start_id(run)}-selection-{identity.digest(origin)}.json"
    generator = partial(load_generator, run)
    start, seconds = cached_responses(
        run, path, origin, generator, prompts, progress="untrained model's responses"
    )
    last = int(training["history"]["step"][-1])
    saved = range(run.selection.every, last, run.selection.every)
    folders = {step: checkpoint_folder(store.checkpoint, step) for step in saved} | {last: store.checkpoint}
    asked = identity.digest([identity.decoding_fields(run), origin])
    judge, both_orders = run.selection.judge, run.evaluation.both_orders
    responses: dict[int, list[Generation]] = {}
    for step, folder in folders.items():
        responses[step], took = cached_responses(
            run,
            store.saved_responses(step, asked),
            [training, origin],
            partial(_load_saved, folder),
            prompts,
            progress=f"answers of {folder.name}",
        )
        seconds += took
    with VerdictLog(store.selection_verdicts) as log:
        verdicts = {
            step: judging.collect_verdicts(judge, make_pairs(run, prompts, start, answers), both_orders, log)
            for step, answers in responses.items()
        }
        seconds += log.seconds
    trajectory = Trajectory(
        judge=judge.name,
        prompts=[p.id for p in prompts],
        start_quality=true_quality(run, prompts, start),
        checkpoints=[
            _checkpoint_result(run, step, prompts, responses[step], verdicts[step]) for step in folders
        ],
    )
    read = [*start, *(response for answers in responses.values() for response in answers)]
    references = [p.reference for p in prompts]
    warnings = comparison_warnings(trajectory)
    warnings += judging.unread_warnings(judge, read, references, field="selection.judge")
    best = best_step(trajectory)
    if best is None or best == last:
        selected = None if best is None else Selected(best, None, None)
        return Selection(trajectory, selected, seconds, warnings)
    selected, took = _evaluate_selected(run, store, training, pairs, best, folders[best])
    warnings += judging.unread_warnings(
        run.judge, selected.responses or [], [], owner="the selected checkpoint's"
    )
    return Selection(trajectory, selected, seconds + took, warnings)


def _evaluate_selected(
    run: Run, store: Store, training: dict[str, Any], pairs: list[Pair], step: int, folder: Path
) -> tuple[Selected, float]:
    """The selected checkpoint with its responses to the evaluation prompts and their verdicts, and the seconds."""
    prompts = inputs.pair_prompts(pairs)
    answers, took = cached_responses(
        run,
        store.saved_responses(step, store.responses_digest),
        [training, step, [asdict(p) for p in prompts]],
        partial(_load_saved, folder),
        prompts,
        progress=f"answers of {folder.name}",
    )
    compared = make_pairs(run, prompts, [p.start for p in pairs], answers)
    # the log of the run, because its judge has one budget for policy and selected checkpoint
    with VerdictLog(store.verdicts) as log:
        earlier = log.seconds
        verdicts = judging.collect_verdicts(run.judge, compared, run.evaluation.both_orders, log)
        took += log.seconds - earlier
    return Selected(step, answers, verdicts), took


def _checkpoint_result(
    run: Run,
    step: int,
    prompts: Sequence[Prompt],
    responses: Sequence[Generation],
    verdicts: Sequence[Verdict],
) -> CheckpointResult:
    by_prompt: dict[str, list[float | None]] = {p.id: [] for p in prompts}
    for verdict in verdicts:
        by_prompt[verdict.prompt_id].append(None if verdict.outcome == "unscored" else points(verdict))
    reasons = Counter(v.reason for v in verdicts if v.reason is not None)
    quality = true_quality(run, prompts, responses)
    return CheckpointResult(step, list(by_prompt.values()), quality, dict(reasons))


def best_step(trajectory: Trajectory) -> int | None:
    """The step with the highest win rate on the prompts that are scored for all checkpoints, the earliest on ties.

    None if there is no such prompt.
    """
    values, scored = _checkpoint_points(trajectory)
    if not scored.any():
        return None
    rates = values[:, scored].mean(axis=(1, 2))
    return trajectory.checkpoints[int(rates.argmax())].step


def comparison_warnings(trajectory: Trajectory) -> list[str]:
    """A warning if unscored verdicts leave fewer prompts to compare the checkpoints on."""
    values, scored = _checkpoint_points(trajectory)
    if scored.all():
        return []
    used, total = values[0, scored].size, values[0].size
    common = f"the checkpoints have {used} of {total} selection verdicts scored in common"
    return [f"{common}, and were compared by these" if used else f"{common}: none was selected"]


def _checkpoint_points(trajectory: Trajectory) -> tuple[np.ndarray, np.ndarray]:
    """Points of shape (checkpoints, prompts, verdicts), NaN where unscored; and for each prompt, whether it counts.

    A prompt with an unscored verdict does not count: one order alone would make a judge's position bias a win.
    """
    values = np.array([checkpoint.points for checkpoint in trajectory.checkpoints], dtype=float)
    return values, ~np.isnan(values).any(axis=(0, 2))


def _load_saved(folder: Path) -> Checkpoint:
    if not folder.exists():
        raise Unavailable(
            f"{folder} was deleted after an earlier run had selected a checkpoint: delete {folder.parent.parent} to "
            "train again, and use selection.keep=true to keep saved checkpoints"
        )
    return load(str(folder))


def keep_saved_checkpoints(run: Run, store: Store) -> None:
    """Keep the saved checkpoints of a training from now on until this run has selected one of them."""
    if run.selection.every is not None:
        with explain_write_errors(store.selecting):
            store.selecting.parent.mkdir(parents=True, exist_ok=True)
            store.selecting.touch()


def release_saved_checkpoints(run: Run, store: Store) -> None:
    """Delete the saved checkpoints after selection; the final policy stays.

    They stay with `selection.keep`, and while another run of this training has yet to select one.
    """
    if run.selection.every is None:
        return
    with cell.run_lock(store.trained):
        store.selecting.unlink(missing_ok=True)
        if not run.selection.keep and not any(store.selecting.parent.iterdir()):
            for folder in store.checkpoint.glob("step-*"):
                shutil.rmtree(folder)
