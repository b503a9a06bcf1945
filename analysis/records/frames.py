"""Tidy data frames of runs, the public ones of `analysis.frames` and the source of our own tables.

docs/frames.md documents every column.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any

import pandas as pd

from analysis.records.ceiling import true_quality
from analysis.records.grouping import group_by
from analysis.records.names import REWARDS, method_names, natural_key, order_key
from analysis.records.read import Records
from cme.records import RunRecord, judge_name, points, scores

IDENTITY = ("run_id", "scale", "family", "regime", "reward", "verifier", "judge", "seed")
RUN_FIELDS = attrgetter(*IDENTITY)
RUN = (
    *("build", "experiment", "generator_checkpoint", "verifier_checkpoint", "heldout_checkpoint"),
    *("language_model", "steps", "stopped", "untrained", "pairs", "verdicts"),
)
GENERATION = ("response", "tokens", "finished", "surprisal")
"""The fields of a response that `pairs_frame` has for both sides."""
SIDES = ("start", "policy")
PAIR = (
    *("prompt_id", "prompt", "reference", "answer"),
    *(f"{side}_{field}" for field in GENERATION for side in SIDES),
    *(f"{side}_{field}" for field in ("quality", "fault") for side in ("start", "cut_start", "policy")),
    *("start_correct", "policy_correct"),
)
VERDICT = (
    *("panel", "prompt_id", "order", "policy_first", "outcome", "points", "score_start", "score_policy"),
    "reason",
)
HISTORY = (
    *("step", "reward_value", "reward_std", "quality", "heldout", "length", "clipped", "repetition", "entropy", "kl"),
    *("unscored", "loss", "grad_norm", "accuracy", "majority_share", "label_accuracy"),
)  # fmt: skip
WINDOW = 5
"""Steps whose mean stands for the start or the end of a training, and of the running mean in figures."""


@dataclass(frozen=True, eq=False)
class Frames:
    """The frames of some runs, each built when it is first used."""

    records: Sequence[RunRecord]

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row per run: its identity, its checkpoints, how its training ended, and how much was recorded."""

        def rows(run: RunRecord) -> list[tuple[Any, ...]]:
            counts = {"steps": run.last_step, "pairs": len(run.pairs), "verdicts": len(run.verdicts)}
            return [tuple(counts[name] if name in counts else getattr(run, name) for name in RUN)]

        return _collect(self.records, RUN, rows, dict.fromkeys(("build", "steps", "pairs", "verdicts"), int))

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """One row per run and evaluation prompt: both responses, with quality, fault and correctness where known."""

        def rows(run: RunRecord) -> Iterator[tuple[Any, ...]]:
            unknown = [None] * len(run.pairs)
            quality, grades, accuracy = true_quality(run), run.grades, run.accuracy
            qualities = [quality.get(pair.prompt_id, (None, None)) for pair in run.pairs]
            graded = [grades.start, grades.cut_start, grades.policy] if grades else None
            columns: list[Iterable[Any]] = [
                run.prompt_names.values(),
                *([getattr(p, field) for p in run.pairs] for field in ("prompt", "reference", "answer")),
                *(
                    [getattr(getattr(p, side), field) for p in run.pairs]
                    for field in GENERATION
                    for side in SIDES
                ),
                [start for start, _ in qualities],
                [grade.quality for grade in grades.cut_start] if grades else unknown,
                [policy for _, policy in qualities],
                *([[grade.fault for grade in side] for side in graded] if graded else [unknown] * 3),
                *([accuracy.start, accuracy.policy] if accuracy else [unknown] * 2),
            ]
            return zip(*columns, strict=True)

        types: dict[str, Any] = {c: float for c in PAIR if c.endswith(("tokens", "surprisal", "quality"))}
        types |= {c: "boolean" for c in PAIR if c.endswith(("finished", "correct"))}
        return _collect(self.records, PAIR, rows, types)

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """One row per verdict of any judge on a pair."""
        return verdicts_frame(self.records)

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row per run and training step."""
        return history_frame(self.records)


def frames(records: Records | Sequence[RunRecord]) -> Frames:
    """The runs, pairs, verdicts and training histories of records as tidy pandas frames."""
    return Frames(records.runs if isinstance(records, Records) else records)


def verdicts_frame(records: Sequence[RunRecord], by_order: bool = False) -> pd.DataFrame:
    """One row per verdict of any judge on a pair: its order, its outcome, the policy's points and the judge's scores.

    `judge` is the verdict's judge; of a panel the members (`panel: member`) and the majority (`panel: majority`).
    `by_order` splits a verdict from both orders into what each order alone says.
    """

    def rows(run: RunRecord) -> Iterator[tuple[Any, ...]]:
        prompts = run.prompt_names
        for judge, verdict in run.judgements(by_order):
            order = "policy first" if verdict.policy_first else "start first"
            yield (
                judge_name(judge, verdict),
                None if verdict.judge is None else judge,
                prompts[verdict.prompt_id],
                order if verdict.orders is None else "both",
                *(verdict.policy_first, verdict.outcome, points(verdict), *scores(verdict), verdict.reason),
            )

    types = {"policy_first": bool, "points": float, "score_start": float, "score_policy": float}
    collected = _collect(records, ("of_judge", *VERDICT), rows, types)
    return collected.assign(judge=collected["of_judge"]).drop(columns="of_judge")


def history_frame(records: Sequence[RunRecord], labels: Mapping[str, str] | None = None) -> pd.DataFrame:
    """One row per run and training step: the columns of `RunRecord.history`, NaN if unmeasured.

    `reward` is the name of the trained reward, `reward_value` its measured value. `labels` gives the runs' methods by
    run id, by default `method_names`.
    """

    def rows(run: RunRecord) -> Iterator[tuple[Any, ...]]:
        unmeasured = [None] * len(run.history.get("step", []))
        measured = run.history | {"reward_value": run.history.get("reward", unmeasured)}
        columns = [measured.get(name, unmeasured) for name in HISTORY]
        return ((run.stopped is not None, *row) for row in zip(*columns, strict=True))

    return _collect(
        records, ("stopped", *HISTORY), rows, {"stopped": bool} | dict.fromkeys(HISTORY, float), labels
    )


def method_rewards(frame: pd.DataFrame) -> dict[str, str]:
    """Each method's reward, ordered by reward, then by name."""
    pairs = set(zip(frame["method"], frame["reward"], strict=True))
    return dict(sorted(pairs, key=lambda pair: (order_key(pair[1], REWARDS), natural_key(pair[0]))))


def group_runs(
    records: Sequence[RunRecord], by: Sequence[str], labels: Mapping[str, str] | None = None
) -> dict[tuple[Any, ...], list[RunRecord]]:
    """The runs by some columns of their identity, in the order of the records.

    `labels` gives the runs' methods by run id, by default `method_names`.
    """
    names = labels or method_names(records)

    def key(record: RunRecord) -> tuple[Any, ...]:
        identity = run_identity(record, names)
        return tuple(identity[column] for column in by)

    return group_by(records, key)


def run_identity(record: RunRecord, names: Mapping[str, str]) -> dict[str, Any]:
    """The fields that identify a row's run."""
    return dict(zip(IDENTITY, RUN_FIELDS(record), strict=True)) | {"method": names[record.run_id]}


def _collect(
    records: Sequence[RunRecord],
    columns: Sequence[str],
    rows: Callable[[RunRecord], Iterable[tuple[Any, ...]]],
    types: Mapping[str, Any],
    labels: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """The rows of all records, each behind the identity of its run; a column without a type is text.

    Text is of type object, since a model can emit half a surrogate pair, which Arrow's strings cannot hold.
    """
    names = labels or method_names(records)
    collected = []
    for record in records:
        identity = run_identity(record, names).values()
        collected += [(*identity, *row) for row in rows(record)]
    frame = pd.DataFrame(collected, columns=[*IDENTITY, "method", *columns], dtype=object)
    return frame.astype({"seed": int} | dict(types))
