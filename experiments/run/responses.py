"""What a checkpoint answers, under the limits of a run's evaluation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from cme.checkpoints import Checkpoint, load
from cme.models.generation import generate
from cme.models.generation_log import GenerationLog
from cme.records import Generation, Prompt
from experiments.config import identity
from experiments.config.runs import Run
from experiments.run.stage import locked_cached_stage
from experiments.run.store import Store


def respond(
    config: Run,
    checkpoint: Checkpoint,
    asked: Sequence[Prompt],
    *,
    progress: str,
    temperature: float = 0.0,
    log: GenerationLog | None = None,
) -> list[Generation]:
    """One response to each prompt: greedy at temperature 0, else sampled from torch's global generator."""
    return generate(
        checkpoint.model,
        checkpoint.tokenizer,
        [p.text for p in asked],
        max_new_tokens=config.evaluation.max_new_tokens,
        batch_size=config.evaluation.batch_size,
        temperature=temperature,
        progress=progress,
        log=log,
    )


def verifier_responses(
    config: Run, store: Store, weights: Mapping[str, str], asked: Sequence[Prompt]
) -> tuple[list[Generation] | None, float]:
    """The frozen verifier's own greedy responses and the seconds they took; None where the run has no one to ask.

    They are made once for all runs with this verifier, rounded as it is, these prompts and these limits.
    """
    name = identity.responding_verifier(config)
    if name is None:
        return None, 0.0
    origin = [weights[name], [asdict(p) for p in asked]]
    path = store.verifier_responses(config, name)
    loaded = partial(load, name, dtype=config.scoring.dtype, quantization=identity.quantization(config))
    return _kept(path, origin, config, loaded, asked, "verifier responses")


def comparator_responses(
    config: Run, store: Store, name: str, weights: str, asked: Sequence[Prompt]
) -> tuple[list[Generation], float]:
    """A further model's greedy responses and the seconds they took; made once for all runs that meet it on these."""
    origin = [weights, config.evaluation.max_new_tokens, [p.text for p in asked]]
    path = store.starts / f"{config.scale.name}-comparator-{identity.digest(origin)}.json"
    return _kept(path, origin, config, partial(load, name), asked, f"answers of {name}")


def _kept(
    path: Path,
    origin: Sequence[object],
    config: Run,
    loaded: Callable[[], Checkpoint],
    asked: Sequence[Prompt],
    progress: str,
) -> tuple[list[Generation], float]:
    """A frozen model's greedy responses from the file, made from `origin`, that runs share; and their seconds."""

    def answers(log: GenerationLog) -> list[dict[str, object]]:
        said = respond(config, loaded(), asked, progress=progress, log=log)
        return [asdict(r) for r in said]

    found = locked_cached_stage(path, origin, answers)
    return [Generation(**g) for g in found["value"]], found["seconds"]
