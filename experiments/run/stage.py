"""What stages are made of: a stage's file, and the object that a `_target_` node makes."""

import hashlib
import json
import logging
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from cme.models.generation_log import GenerationLog
from cme.records import BadFile, Prompt, read_json, write_json
from cme.runtime.files import delete_partial_files, hold_lock
from experiments.config import identity


def resolve_weights(names: Iterable[str]) -> dict[str, str]:
    """What each checkpoint's name stands for, made loadable: the digest-named folder of one that is built or
    converted here, else the name itself. Raises as `cme.checkpoints.ensure` does.
    """
    from cme.checkpoints import ensure

    places = ensure(list(names))
    return {name: name if place == name else Path(place).name for name, place in places.items()}


def fingerprint(prompts: Iterable[Prompt]) -> str:
    """SHA-256 of prompts, their ids, gold answers and references included, in their order."""
    return hashlib.sha256(json.dumps([asdict(p) for p in prompts]).encode()).hexdigest()


def cached_stage(path: Path, inputs: Any, make: Callable[[GenerationLog], Any]) -> dict[str, Any]:
    """A stage's file: its `value`, the `seconds` it took, and a digest of the `inputs` it was made from.

    It is made, and written whole, where there is none or where it was made from something else. `make` is given what
    earlier attempts left, whose seconds count. Raises BadFile, naming it, for a file that is not a stage's.
    """
    made_from = identity.digest(inputs)
    left = path.with_suffix(".unfinished.jsonl")
    if path.exists():
        found = _read(path)
        if found["made_from"] == made_from:
            left.unlink(missing_ok=True)  # of an attempt that ended just before it would have
            return found
    log = GenerationLog(left, made_from)
    began = time.perf_counter()
    value = make(log)
    seconds = log.seconds + time.perf_counter() - began
    write_json(path, {"made_from": made_from, "seconds": seconds, "value": value})
    log.delete()
    return _read(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = cast("dict[str, Any]", read_json(path))
        _ = found["made_from"], found["seconds"], found["value"]
    except (LookupError, TypeError, ValueError) as error:
        raise BadFile(
            f"{path} is not what a stage leaves ({error!r}): delete it, and the same command makes it again"
        ) from None
    return found


def locked_cached_stage(path: Path, inputs: Any, make: Callable[[GenerationLog], Any]) -> dict[str, Any]:
    """`once` for a file that several runs share: one makes it, the others wait for it."""
    with hold_lock(path.with_name(f"{path.name}.lock")):
        delete_partial_files(path.parent, path.name)
        return cached_stage(path, inputs, make)


def quiet_libraries() -> None:
    """Keep libraries' advice out of the output; errors still show."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("trl").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(torch|transformers|trl|accelerate)\.")
