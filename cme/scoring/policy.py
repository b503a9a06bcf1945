"""Log-likelihoods and entropies of completions under the policy that is being trained."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from cme.models import chat
from cme.runtime import distributed

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

    from cme.scoring.token_scorer import TokenScorer, TokenScores


class PolicyHolder(Protocol):
    """What rewards read of a trainer. TRL's trainers have it, and so has `UntrainedPolicy`."""

    processing_class: Any
    model: Any


class SupportsTokenRewards:
    """Marks a trainer that computes advantages from a reward's `token_values` and honours its `std_floor`."""


@dataclass
class UntrainedPolicy(SupportsTokenRewards):
    """A model that stands in for the trainer where rewards are computed without training."""

    processing_class: "PreTrainedTokenizerBase"
    model: "PreTrainedModel"


class PolicyScorer:
    """Scores completions under the current policy at temperature 1, in the tokens that it sampled."""

    def __init__(self, trainer: PolicyHolder) -> None:
        self.trainer = trainer
        self._unwrapped = trainer.model  # it is wrapped, for several processes, when training begins
        self._scorer: TokenScorer | None = None

    @cached_property
    def end_ids(self) -> tuple[int, ...]:
        """Ids of the tokens that end the policy's responses, sorted."""
        return chat.end_ids(self.trainer.processing_class, self._unwrapped.generation_config)

    def score(
        self,
        prompts: Sequence[chat.Text],
        completion_ids: Sequence[Sequence[int]],
        *,
        entropy: bool = False,
        certainty: bool = False,
    ) -> "list[TokenScores]":
        """Scores of the tokens of B completions, end of turn included, given the prompts that TRL samples from."""
        from accelerate.utils import extract_model_from_parallel

        from cme.scoring.token_scorer import TokenScorer

        rendered = _sampled_prompts_ids(self.trainer, prompts)
        if self._scorer is None:  # on the first call: at bind time the model is not wrapped yet
            self._scorer = TokenScorer(extract_model_from_parallel(self.trainer.model))
        with gather_weights(self.trainer):
            return self._scorer.score(rendered, completion_ids, entropy=entropy, certainty=certainty)


def _sampled_prompts_ids(trainer: PolicyHolder, prompts: Sequence[chat.Text]) -> list[list[int]]:
    """Token ids of the prompts that a trainer samples from: TRL's own, which render no plain text, or else ours."""
    from trl import GRPOTrainer, RLOOTrainer

    if isinstance(trainer, GRPOTrainer | RLOOTrainer) and len(prompts):  # TRL reads the first one
        ids: list[list[int]] = trainer._tokenize_prompts(list(prompts))[0]  # noqa: SLF001 - TRL has no accessor
        return ids
    return chat.prompts_ids(trainer.processing_class, prompts)


@contextmanager
def gather_weights(trainer: "Trainer") -> Iterator[None]:
    """Gather the policy's weights in every process while the context is open, where FSDP or ZeRO-3 shard them.

    Inside, processes may run the model independently of each other. All processes must enter and leave.
    """
    if not distributed.is_sharded():
        yield
        return
    from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel

    model = trainer.model_wrapped
    shards = [module for module in model.modules() if isinstance(module, FSDPModule)]
    plugin = trainer.accelerator.state.deepspeed_plugin
    if isinstance(model, FullyShardedDataParallel):
        with FullyShardedDataParallel.summon_full_params(model, writeback=False):
            yield
    elif isinstance(model, FSDPModule):
        model.set_reshard_after_forward(False)
        for shard in shards:
            shard.unshard()
        try:
            yield
        finally:
            model.set_reshard_after_forward(True)
            for shard in shards:
                shard.reshard()
    elif plugin is not None and plugin.zero_stage == 3:
        from trl.models import unwrap_model_for_generation

        with unwrap_model_for_generation(model, trainer.accelerator):
            yield
    else:
        yield
