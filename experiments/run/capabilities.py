"""lm-eval's tasks before and after training: the same items put to the untrained start and to the policy."""

from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from cme.checkpoints import load
from cme.evaluation.capabilities import Score, measure
from cme.records import Capability
from experiments.config import identity
from experiments.config.runs import Run
from experiments.run.stage import cached_stage, locked_cached_stage
from experiments.run.store import Store


@dataclass(frozen=True)
class Kept:
    """The scores before and after, and the seconds that they took, the shared ones of the start included."""

    scores: list[Capability]
    seconds: float


def run(config: Run, store: Store, weights: dict[str, str], trained: dict[str, Any]) -> Kept | None:
    """Scores of the start, shared between its runs, and of the trained policy; None without tasks."""
    if not config.capabilities.tasks:
        return None
    settings = {k: v for k, v in config.settings["capabilities"].items() if k != "batch_size"}
    settings["lm_eval"] = version("lm-eval")
    made_of = [weights[config.generator], settings]
    path = store.starts / f"{config.scale.name}-capabilities-{identity.digest(made_of)}.json"
    before = locked_cached_stage(path, made_of, lambda _: _scores(config, config.generator))
    after = cached_stage(
        store.capabilities, [trained, settings], lambda _: _scores(config, str(store.checkpoint))
    )
    pairs = zip(before["value"], after["value"], strict=True)
    return Kept([_capability(Score(**b), Score(**a)) for b, a in pairs], before["seconds"] + after["seconds"])


def _scores(config: Run, checkpoint: str) -> list[dict[str, Any]]:
    found = measure(
        load(checkpoint),
        list(config.capabilities.tasks),
        chat_template=config.capabilities.chat_template,
        limit=config.capabilities.limit,
        batch_size=config.capabilities.batch_size,
    )
    return [asdict(score) for score in found]


def _capability(before: Score, after: Score) -> Capability:
    """Both scores of one metric. Raises ValueError where they are not of the same items."""
    if (before.task, before.metric, before.n) != (after.task, after.metric, after.n):
        raise ValueError(f"capabilities before and after differ in what was asked: {before} and {after}")
    return Capability(
        task=before.task,
        metric=before.metric,
        n=before.n,
        before=before.value,
        before_stderr=before.stderr,
        after=after.value,
        after_stderr=after.stderr,
        before_items=before.items,
        after_items=after.items,
    )
