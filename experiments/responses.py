"""What a checkpoint answers, under the limits of a run's evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from filelock import FileLock
from omegaconf import DictConfig

from cme.checkpoints import Checkpoint, load
from cme.generation import generate
from cme.records import Generation, Prompt
from experiments import identity
from experiments.parts import once
from experiments.store import Store


def respond(
    config: DictConfig,
    checkpoint: Checkpoint,
    asked: Sequence[Prompt],
    *,
    progress: str,
    temperature: float = 0.0,
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
    )


def of_verifier(
    config: DictConfig, store: Store, weights: Mapping[str, str], asked: Sequence[Prompt]
) -> tuple[list[Generation] | None, float]:
    """The frozen verifier's own greedy responses and the seconds they took; None where the run has no one to ask.

    They are made once for all runs with this verifier, these prompts and these limits.
    """
    name = identity.speaking_verifier(config)
    if name is None:
        return None, 0.0

    def answers() -> list[dict[str, object]]:
        verifier = load(name, dtype=config.scoring.dtype)
        return [asdict(r) for r in respond(config, verifier, asked, progress="verifier responses")]

    path = store.verifier_responses(config, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        found = once(path, [weights[name], [asdict(p) for p in asked]], answers)
    return [Generation(**g) for g in found["value"]], found["seconds"]
