"""What the stages of a run share: their files, the weights that they load, and their messages."""

import hashlib
import json
import logging
import sys
import time
import warnings
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from cme.models.generation_log import GenerationLog
from cme.records import BadFile, Prompt, read_json, write_json
from cme.runtime.files import delete_partial_files, hold_lock
from cme.runtime.terminal import plain
from experiments.config import identity
from experiments.config.runs import Run


def resolve_weights(names: Iterable[str], tokenizers_of: Collection[str] = ()) -> dict[str, str]:
    """Make checkpoints loadable, and return what identifies the weights of each by its name.

    That is the commit of a checkpoint on the hub, the name of the folder, which contains a digest, of one that is
    converted here, this name with a digest of the weights for one that is trained here, and the name of a local folder
    itself. Of `tokenizers_of`, only the tokenizers are made loadable. Raises as `cme.checkpoints.ensure` does.
    """
    from cme.checkpoints import RANDOM, ensure
    from cme.miniature.models import weights_identity

    found = {}
    for name, place in ensure(list(names), tokenizers_of).items():
        trained = name.removeprefix(RANDOM).startswith(("miniature:", "tuned:"))
        found[name] = (
            weights_identity(Path(place)) if trained else name if place == name else Path(place).name
        )
    return found


def fingerprint(prompts: Iterable[Prompt]) -> str:
    """SHA-256 of prompts in their order, with their ids, gold answers and references."""
    return hashlib.sha256(json.dumps([asdict(p) for p in prompts]).encode()).hexdigest()


def cached_stage(path: Path, inputs: Any, make: Callable[[GenerationLog], Any]) -> dict[str, Any]:
    """A stage's file: its `value`, the `seconds` that it took, and a digest of the `inputs` that it was made from.

    If the file does not exist or was made from other inputs, `make` is called with the log of earlier attempts, whose
    seconds count too, and the file is written. Raises BadFile for a file that is not a stage's.
    """
    made_from = identity.digest(inputs)
    unfinished = path.with_suffix(".unfinished.jsonl")
    if path.exists():
        stage = _read_stage(path)
        if stage["made_from"] == made_from:
            unfinished.unlink(
                missing_ok=True
            )  # from an attempt that ended just before it would have deleted it
            return stage
    log = GenerationLog(unfinished, made_from)
    began = time.perf_counter()
    value = make(log)
    seconds = log.seconds + time.perf_counter() - began
    write_json(path, {"made_from": made_from, "seconds": seconds, "value": value})
    log.delete()
    return _read_stage(path)


def _read_stage(path: Path) -> dict[str, Any]:
    try:
        stage = cast("dict[str, Any]", read_json(path))
        _ = stage["made_from"], stage["seconds"], stage["value"]
    except (LookupError, TypeError, ValueError) as error:
        raise BadFile(
            f"{path} is not a stage's file ({error!r}): delete it, and the same command makes it again"
        ) from None
    return stage


def locked_cached_stage(path: Path, inputs: Any, make: Callable[[GenerationLog], Any]) -> dict[str, Any]:
    """`cached_stage` for a file that several runs share: one run makes it, the others wait for it."""
    with hold_lock(path.with_name(f"{path.name}.lock")):
        delete_partial_files(path.parent, path.name)
        return cached_stage(path, inputs, make)


def print_message(run: Run, text: str) -> None:
    """Print a line about a run on stderr."""
    print(plain(f"{run.run_id}: {text}"), file=sys.stderr)


def quiet_libraries() -> None:
    """Silence the libraries except for errors."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("trl").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(torch|transformers|trl|accelerate)\.")
