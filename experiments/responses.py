"""What a checkpoint answers, under the limits of a run's evaluation."""

from collections.abc import Sequence

from omegaconf import DictConfig

from cme.checkpoints import Checkpoint
from cme.generation import generate
from cme.records import Generation, Prompt


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
