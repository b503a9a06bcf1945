"""What a model can do beside what it is trained for: lm-eval's tasks on a checkpoint in memory.

A task is one of ours (`cme/data/tasks`) or one of lm-eval's own by its name; the latter read their items from the
hub or its local cache. lm-eval is imported on first use: its import takes seconds, and the index of its own 14,000
tasks takes ten more, which a list of our tasks alone does without.
"""

import difflib
import logging
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cme import Unavailable
from cme.checkpoints import Checkpoint
from cme.runtime.extras import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lm_eval.tasks import TaskManager

OWN_TASKS_FOLDER = Path(str(files("cme.data"))) / "tasks"


@dataclass(frozen=True)
class Score:
    """One metric of one task on `n` items; `items` are its values by item, None where it is no mean over items."""

    task: str
    metric: str
    n: int
    value: float
    stderr: float | None
    items: list[float] | None


def own_tasks() -> list[str]:
    """The names of our own tasks."""
    return sorted(path.stem for path in OWN_TASKS_FOLDER.glob("*.yaml"))


def check(tasks: Sequence[str]) -> None:
    """Load the tasks and their items. ValueError for an unknown name, Unavailable for what cannot be had here."""
    require("lm_eval", "capabilities", "capabilities.tasks")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    manager = _manager(tasks)
    for name in tasks:
        if name not in manager.all_subtasks:
            near = difflib.get_close_matches(name, manager.all_subtasks, n=1)
            hint = f"did you mean {near[0]}?" if near else f"ours are {', '.join(own_tasks())}"
            raise ValueError(
                f"capabilities.tasks has {name!r}, which is no task of ours or of lm-eval; {hint}"
            )
        try:
            manager.load([name])
        except ImportError as error:
            raise Unavailable(
                f"capability task {name} needs the package {error.name}, which is not installed: "
                f"run `pip install {error.name}`, or leave the task out of capabilities.tasks"
            ) from error
        except OSError as error:
            raise Unavailable(
                f"capability task {name} reads its items from the hub; they are neither in the local cache nor to be "
                f"had there ({str(error).splitlines()[0]}): connect, or leave the task out of capabilities.tasks"
            ) from error


def measure(
    checkpoint: Checkpoint,
    tasks: Sequence[str],
    *,
    chat_template: bool,
    limit: int | None,
    batch_size: int,
) -> list[Score]:
    """Scores of a checkpoint on the tasks' items, or on the first `limit` of each, in the order of the tasks.

    With `chat_template` each item is a user's turn in the checkpoint's template, otherwise plain text that it
    continues. The same items and few-shot examples on every call: lm-eval's seeds are fixed.
    """
    manager = _manager(tasks)
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    with _quiet():
        model = HFLM(pretrained=checkpoint.model, tokenizer=checkpoint.tokenizer, batch_size=batch_size)
        found = simple_evaluate(
            model,
            tasks=list(tasks),
            limit=limit,
            apply_chat_template=chat_template,
            task_manager=manager,
            log_samples=True,
            bootstrap_iters=1000,
        )
    return [score for task in tasks for score in _scores(task, found)]


def _manager(tasks: Sequence[str]) -> "TaskManager":
    return _index(with_theirs=not set(tasks) <= set(own_tasks()))


@cache
def _index(*, with_theirs: bool) -> "TaskManager":
    from lm_eval.tasks import TaskManager

    with _quiet():
        return TaskManager(include_path=str(OWN_TASKS_FOLDER), include_defaults=with_theirs)


@contextmanager
def _quiet() -> "Iterator[None]":
    """Keep lm-eval's advice out of the output; errors still show."""
    logger = logging.getLogger("lm_eval")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _scores(task: str, found: Mapping[str, Any]) -> list[Score]:
    """The metrics of a task in lm-eval's results, whose keys are `metric,filter` and `metric_stderr,filter`."""
    values, n = found["results"][task], found["n-samples"][task]["effective"]
    scores = []
    for key, value in values.items():
        metric, _, filtered = key.partition(",")
        if not filtered or metric.endswith("_stderr"):
            continue
        stderr = values.get(f"{metric}_stderr,{filtered}")
        known = isinstance(stderr, float) and isfinite(stderr)
        name = metric if filtered == "none" else f"{metric} ({filtered})"
        items = _items([s for s in found["samples"][task] if s["filter"] == filtered], metric)
        scores.append(Score(task, name, n, float(value), float(stderr) if known else None, items))
    return scores


def _items(samples: Sequence[Mapping[str, Any]], metric: str) -> list[float] | None:
    """A metric's value on each item, by the item's place in the task; None unless each is a number."""
    values = [sample.get(metric) for sample in sorted(samples, key=lambda s: int(s["doc_id"]))]
    numbers = [float(v) for v in values if isinstance(v, int | float)]
    return numbers if len(numbers) == len(values) else None
