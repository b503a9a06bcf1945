"""Capabilities that a model is not trained on, measured with lm-eval on a loaded checkpoint, and IFEval's scores.

A task is a bundled one (`cme/data/tasks`) or any task of lm-eval, whose items come from the hub or its local cache.
lm-eval is imported on first use, because its import takes seconds. The index of its 14,000 tasks takes ten more seconds
and is only read for tasks that are not bundled.
"""

import difflib
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import isfinite, sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from cme import Unavailable
from cme.checkpoints import Checkpoint
from cme.grading.constraints import ConstrainedPrompt, loosely_met, strictly_met
from cme.runtime.extras import require

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

OWN_TASKS_FOLDER = Path(str(files("cme.data"))) / "tasks"


@dataclass(frozen=True)
class Score:
    """One metric of one task on `n` items. `items` has the value of each item; None for a metric that is no mean."""

    task: str
    metric: str
    n: int
    value: float
    stderr: float | None
    items: list[float] | None


def own_tasks() -> list[str]:
    """Names of the bundled tasks."""
    return sorted(path.stem for path in OWN_TASKS_FOLDER.glob("*.yaml"))


def check(tasks: Sequence[str]) -> None:
    """Load the tasks and their items. Raises ValueError for an unknown task, Unavailable if a task cannot be loaded."""
    require("lm_eval", "capabilities", "capabilities.tasks")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    manager = _manager(tasks)
    for name in tasks:
        if name not in manager.all_subtasks:
            near = difflib.get_close_matches(name, manager.all_subtasks, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the bundled tasks are {', '.join(own_tasks())}"
            raise ValueError(
                f"capabilities.tasks has {name!r}, which is neither bundled nor in lm-eval; {hint}"
            )
        try:
            manager.load([name])
        except ImportError as error:
            raise Unavailable(
                f"capability task {name} needs the package {error.name}, which is not installed: "
                f"run `pip install {error.name}`, or remove the task from capabilities.tasks"
            ) from error
        except OSError as error:
            raise Unavailable(
                f"capability task {name} needs items from the hub, which are not in the local cache and cannot be "
                f"downloaded ({str(error).splitlines()[0]}): connect, or remove the task from capabilities.tasks"
            ) from error
        if "ifeval" in name:
            _check_sentence_tokenizer(name)


def _check_sentence_tokenizer(task: str) -> None:
    """Raise Unavailable without the data of NLTK that a task reads where an instruction is about sentences."""
    import nltk

    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError as error:
        raise Unavailable(
            f"capability task {task} needs the sentence tokenizer punkt_tab of NLTK, which is not on this machine: run "
            f"`{sys.executable} -m nltk.downloader punkt_tab`, or remove the task from capabilities.tasks"
        ) from error


def data_commits(tasks: Sequence[str]) -> dict[str, str]:
    """The commits of the hub's data sets from which the items of the tasks are read, by data set. Loads the items."""
    commits = {}
    from_hub = [name for name in tasks if name not in own_tasks()]
    loaded = _manager(tasks).load(from_hub)["tasks"].values() if from_hub else []
    for task in loaded:
        # the library `datasets` keeps what it reads from the hub in a folder with the name of the commit
        files = [file["filename"] for split in task.dataset.values() for file in split.cache_files]
        if files and re.fullmatch("[0-9a-f]{40}", commit := Path(files[0]).parent.name):
            commits[str(task.config.dataset_path)] = commit
    return commits


def measure(
    checkpoint: Checkpoint,
    tasks: Sequence[str],
    *,
    chat_template: bool,
    limit: int | None,
    batch_size: int,
) -> list[Score]:
    """Scores of a checkpoint on the tasks, in their order. Items and few-shot examples are the same on every call.

    Args:
        chat_template: whether items are user turns in the checkpoint's chat template, or plain text to continue.
        limit: use only the first `limit` items of each task; None for all.
    """
    manager = _manager(tasks)
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    class ChatModel(HFLM):  # type: ignore[misc]  # lm-eval has no types
        """Tokenizes context and continuation apart, as the chat has them: the continuation begins the model's turn.

        lm-eval tokenizes them together and removes as many tokens as the context has alone, after it has moved the
        template's last line break to the continuation. Where the tokenizer merges characters across the border, that
        loses the first token of the continuation.
        """

        def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
            return self.tok_encode(context), self.tok_encode(continuation, add_special_tokens=False)

    model = (ChatModel if chat_template else HFLM)(
        pretrained=checkpoint.model, tokenizer=checkpoint.tokenizer, batch_size=batch_size
    )
    results = simple_evaluate(
        model,
        tasks=list(tasks),
        limit=limit,
        apply_chat_template=chat_template,
        task_manager=manager,
        log_samples=True,
        bootstrap_iters=1000,
    )
    return [score for task in tasks for score in _scores(task, results)]


def _manager(tasks: Sequence[str]) -> "TaskManager":
    return _index(with_lm_evals=not set(tasks) <= set(own_tasks()))


@cache
def _index(*, with_lm_evals: bool) -> "TaskManager":
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return TaskManager(include_path=str(OWN_TASKS_FOLDER), include_defaults=with_lm_evals)


def _scores(task: str, results: Mapping[str, Any]) -> list[Score]:
    """The metrics of a task in lm-eval's results, which have the keys `metric,filter` and `metric_stderr,filter`."""
    values, n = results["results"][task], results["n-samples"][task]["effective"]
    samples = sorted(results["samples"][task], key=lambda sample: int(sample["doc_id"]))
    scores = []
    for key, value in values.items():
        metric, _, lm_filter = key.partition(",")
        if not lm_filter or metric.endswith("_stderr"):
            continue
        stderr = values.get(f"{metric}_stderr,{lm_filter}")
        known = isinstance(stderr, float) and isfinite(stderr)
        name = metric if lm_filter == "none" else f"{metric} ({lm_filter})"
        by_item = [sample.get(metric) for sample in samples if sample["filter"] == lm_filter]
        items = [float(v) for v in by_item if isinstance(v, int | float)]
        complete = items if len(items) == len(by_item) else None
        scores.append(Score(task, name, n, float(value), float(stderr) if known else None, complete))
    return scores


def ifeval_scores(task: str, prompts: Sequence[ConstrainedPrompt], responses: Sequence[str]) -> list[Score]:
    """IFEval's four scores, strict and loose, with lm-eval's names.

    `prompt_level` is the share of prompts all of whose constraints are met, with its standard error; `inst_level` is
    the share of all constraints that are met.
    """
    scores = []
    for rule, met in (("strict", strictly_met), ("loose", loosely_met)):
        followed = list(map(met, prompts, responses))
        items = [float(all(one)) for one in followed]
        every = [value for one in followed for value in one]
        stderr = stdev(items) / sqrt(len(items)) if len(items) > 1 else None
        scores += [
            Score(task, f"prompt_level_{rule}_acc", len(items), fmean(items), stderr, items),
            Score(task, f"inst_level_{rule}_acc", len(every), fmean(every), None, None),
        ]
    return scores
