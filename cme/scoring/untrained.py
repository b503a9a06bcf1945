"""Rewards where nothing is trained: a checkpoint stands where they ask for the policy."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cme.checkpoints import Checkpoint

Reward = Callable[..., list[float | None]]


def bind(reward: Reward, policy: "Checkpoint") -> None:
    """Give a reward that has a `bind` what it takes from a trainer, with `policy` as the policy."""
    binding: Any = getattr(reward, "bind", None)
    if binding is not None:
        binding(
            SimpleNamespace(
                processing_class=policy.tokenizer,
                own_advantages=True,
                model=policy.model,
                accelerator=SimpleNamespace(unwrap_model=lambda model: model),
            )
        )
