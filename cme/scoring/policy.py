"""The policy that is being trained, as a scorer of the tokens that it sampled."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cme.models import chat
from cme.runtime import distributed

if TYPE_CHECKING:
    from transformers import Trainer
    from trl import GRPOTrainer

    from cme.scoring.token_scorer import TokenScorer, TokenScores


@contextmanager
def gathered_weights(trainer: "Trainer") -> Iterator[None]:
    """The policy's weights whole in every process for as long as it lasts, where FSDP or ZeRO-3 keep them in parts.

    Processes may then compute with them as often as each likes; all must enter and leave.
    """
    if not distributed.is_sharded():
        yield
        return
    from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel

    model = trainer.model_wrapped
    parts = [module for module in model.modules() if isinstance(module, FSDPModule)]
    plugin = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
    if isinstance(model, FullyShardedDataParallel):
        with FullyShardedDataParallel.summon_full_params(model, writeback=False):
            yield
    elif isinstance(model, FSDPModule):
        model.set_reshard_after_forward(False)
        for part in parts:
            part.unshard()
        try:
            yield
        finally:
            model.set_reshard_after_forward(True)
            for part in parts:
                part.reshard()
    elif plugin is not None and plugin.zero_stage == 3:
        from trl.models import unwrap_model_for_generation

        with unwrap_model_for_generation(model, trainer.accelerator):
            yield
    else:
        yield


class PolicyScorer:
    """Scores completions under the policy as it is at each call; untempered, in its own tokens.

    Args:
        reward: what needs it, for the error of a call before `bind`.
    """

    def __init__(self, reward: str) -> None:
        self._reward = reward
        self._trainer: GRPOTrainer | None = None
        self._scorer: TokenScorer | None = None

    def bind(self, trainer: "GRPOTrainer") -> None:
        """Learn from the trainer which policy is being trained."""
        self._trainer, self._scorer = trainer, None

    def score(
        self,
        prompts: Sequence[chat.Text],
        completion_ids: Sequence[Sequence[int]],
        *,
        entropy: bool = False,
        certainty: bool = False,
    ) -> "list[TokenScores]":
        """Scores of B completions' tokens, the end of turn included. Raises RuntimeError before `bind`."""
        from cme.scoring.token_scorer import TokenScorer

        if self._trainer is None:
            raise RuntimeError(f"{self._reward} needs bind(trainer) before training")
        tokenizer = self._trainer.processing_class
        heads = [chat.prompt_ids(tokenizer, p) for p in prompts]
        if self._scorer is None:  # on the first call: at bind time the model is not wrapped yet
            self._scorer = TokenScorer(self._trainer.accelerator.unwrap_model(self._trainer.model))
        with gathered_weights(self._trainer):
            return self._scorer.score(heads, completion_ids, entropy=entropy, certainty=certainty)
