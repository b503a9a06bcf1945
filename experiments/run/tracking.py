"""A run in the tracker that is configured: its name, its parameters, and the warnings of a tracker that failed."""

import sys
from collections.abc import Iterable
from typing import Any

from transformers import TrainerCallback

from cme import Unavailable
from cme.records import read_json, write_json
from cme.runtime.secrets import redact
from cme.training.trackers import TrackedRun, Tracking, check_tracker
from experiments.config import identity
from experiments.config.runs import Run
from experiments.run.store import Store

# What says of a run what it is, beside the fields that change results.
NAMES = ("family.name", "regime", "verifier.name", "experiment.name")


def callbacks(config: Run, store: Store) -> list[TrainerCallback]:
    """What gives a training's figures to the configured tracker."""
    if config.tracker == "none":
        return []
    experiment = config.experiment.name
    run = TrackedRun(
        id=store.folder.name,
        project="cme" if experiment is None else f"cme-{experiment}",
        settings=parameters(config),
        folder=store.folder,
    )
    return [Tracking(config.tracker, run, lambda text: _warn(store, text))]


def parameters(config: Run) -> dict[str, Any]:
    """The run's settings by their dotted paths; of those that change nothing, its names."""
    names = {path: value for path, value in identity.flat_settings(config).items() if path in NAMES}
    found = names | identity.identity_fields(config)
    return {path: redact(v) if isinstance(v, str) else v for path, v in found.items()}


def probe(configs: Iterable[Run]) -> None:
    """Try the trackers of the trainings that are owed, each once. Raises Unavailable, a line for each."""
    owed = [c for c in configs if c.trainer.method != "best_of_n" and not Store.of(c).training.exists()]
    why = []
    for name in dict.fromkeys(c.tracker for c in owed if c.tracker != "none"):
        try:
            check_tracker(name)
        except Unavailable as error:
            why.append(str(error))
    if why:
        raise Unavailable("\n".join(why))


def warnings(store: Store) -> list[str]:
    """What the record should say of a tracker that failed."""
    return list(read_json(store.tracking)) if store.tracking.exists() else []


def _warn(store: Store, text: str) -> None:
    print(f"warning: {store.folder.name}: {text}", file=sys.stderr)
    known = warnings(store)
    if text not in known:
        write_json(store.tracking, [*known, text])
