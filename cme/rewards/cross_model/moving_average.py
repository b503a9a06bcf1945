"""Cross-Model Entropy with a slow copy of the policy as verifier: the teacher of Co-rewarding-II (arXiv 2508.00410).

    r(x, y) = 1/T sum_t log q_k(y_t | x, y_<t)                          nats per token
    q_0 = the untrained policy,   weights(q_k) = d weights(q_k-1) + (1 - d) weights(p_k)

p_k is the policy after k optimizer steps, q_k the verifier that scores the completions of step k+1, and d the decay.
With d = 1 the verifier stays the untrained policy, which is the control `self_likelihood`; with d = 0 it is the policy.

Co-rewarding-II (Zhang et al.; github.com/tmlr-group/Co-rewarding, Co-rewarding-II/run_corewarding-II.sh) updates its
teacher like this after every step. Its weight of the policy, 1 - d, falls from 0.01 to 0.00001 over the training.

Deviations: d is constant, by default 0.99, the source's at its beginning. The source's teacher samples responses of its
own, and its majority vote is the label that the policy's answers are compared with; here the teacher is the verifier of
Cross-Model Entropy, which needs no answers.

The average is kept in float32, since (1 - d) times a small change is lost in bfloat16. It is saved and restored with a
training checkpoint, bit for bit. Beside the policy it takes 4 bytes per parameter of memory, and as many in each
checkpoint.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cme.rewards.cross_model.cross_model_entropy import CrossModelEntropy
from cme.rewards.cross_model.settings import VerifierSettings, with_signature_of
from cme.runtime import distributed

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from cme.scoring.policy import PolicyHolder


@dataclass(frozen=True, kw_only=True)
class MovingAverageSettings(VerifierSettings):
    """Settings of the verifier, which begins as the untrained policy, and the `decay` of its average, from 0 to 1.

    Raises ValueError as `VerifierSettings` does, and for a precision in which the average would not move.
    """

    decay: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.decay <= 1:
            raise ValueError(f"decay={self.decay}; it must be from 0 to 1")
        if not isinstance(self.verifier, str):
            raise ValueError(f"verifier={self.verifier}; an average of the policy begins at one checkpoint")
        if self.dtype != "float32" or self.quantization is not None:
            raise ValueError(
                f"dtype={self.dtype} with quantization={self.quantization}; an average of small changes needs "
                "dtype=float32 and quantization=null"
            )


class CrossModelEntropyEMA(CrossModelEntropy):
    """Cross-Model Entropy whose verifier is an exponential moving average of the policy, in nats per token.

    Args:
        verifier: name of the checkpoint at which the policy begins.
        settings: fields of `MovingAverageSettings`.
    """

    __name__ = "cme_ema"
    SETTINGS = MovingAverageSettings

    @with_signature_of(MovingAverageSettings)
    def __init__(self, verifier: str, *, decay: float, **settings: Any) -> None:
        MovingAverageSettings(verifier, decay=decay, **settings)
        super().__init__(verifier, **settings)
        self.decay = decay
        self._needs_policy.append(f"decay={decay}")

    def bind(self, trainer: "PolicyHolder") -> None:
        """Receive the trainer, after each of whose optimizer steps the average moves.

        Raises ValueError for a policy whose weights are not those of the verifier by name and shape, such as adapters,
        and for one that FSDP or DeepSpeed shard.
        """
        from transformers import Trainer, TrainerCallback

        super().bind(trainer)
        if distributed.is_sharded():
            raise ValueError(
                f"reward={self.__name__} needs the whole policy in each process; train without FSDP and DeepSpeed"
            )
        policy, move = trainer.model, self.move
        self._pairs(policy)

        class Mover(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, *_: Any, **__: Any) -> None:
                move(policy)

        if isinstance(trainer, Trainer):
            trainer.add_callback(Mover())

    def move(self, policy: "PreTrainedModel") -> None:
        """Move the average towards the policy's present weights."""
        import torch

        with torch.no_grad():
            for average, weight in self._pairs(policy):
                average.lerp_(weight.detach().to(average), 1 - self.decay)

    def state_dict(self) -> dict[str, Any]:
        """The weights of the average by name."""
        return {name: weight.detach() for name, weight in self._average().named_parameters()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the weights of the average."""
        for name, weight in self._average().named_parameters():
            weight.data.copy_(state[name])

    def _average(self) -> "PreTrainedModel":
        from cme.scoring.token_scorer import TokenScorer

        engine = self.verifiers[0].engine
        assert isinstance(engine, TokenScorer)  # no server is a setting
        return engine.model

    def _pairs(self, policy: "PreTrainedModel") -> "list[tuple[torch.Tensor, torch.Tensor]]":
        """Each weight of the average with the policy's of the same name."""
        averages, weights = (dict(model.named_parameters()) for model in (self._average(), policy))
        shapes = [
            {name: tuple(weight.shape) for name, weight in each.items()} for each in (averages, weights)
        ]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"verifier={self.settings.verifier}: its weights are not the policy's, at which the average begins; "
                "use the generator's checkpoint, and train all weights (adapter=none)"
            )
        return [(average, weights[name]) for name, average in averages.items()]
