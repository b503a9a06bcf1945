"""Cross-Model Entropy (Gorbett and Shirazi, arXiv 2605.29009).

    r(x, y) = 1/T sum_t log q(y_t | x, y_<t)          nats per token

q is the verifier, a frozen model other than the policy. x is the prompt, rendered in the verifier's own chat template.
y_1..T is the response in the verifier's own tokens. The reward is high where the response does not surprise the
verifier.

Variants, all off by default. v_t is the value of token t:

    metric=log_likelihood      v_t = log q(y_t | x, y_<t),   r = mean v
    metric=perplexity          r = -exp(-mean v), the cross-model perplexity of arXiv 2603.25450
    metric=predictive_entropy  v_t = -H(q(. | x, y_<t)),     r = mean v, the cross-model entropy of arXiv 2603.25450
    pmi                        v_t = log q(y_t | x, y_<t) - log q(y_t | x0, y_<t); x0 is the empty prompt
    span=answer | blended      r over the answer's tokens, or (1 - w) r(response) + w r(answer)
    no_answer_penalty          a response without an answer gets r(response) - no_answer_penalty, whatever the span
    several verifiers          the mean or the minimum of their rewards
    clip, sigmoid              min(max(r, low), high);  1 / (1 + exp(-(r - center) / width)); with granularity=token
                               also of each token's value
    std_floor                  the advantage divides by max(standard deviation of the group's rewards, std_floor)
    granularity=token          one advantage per token ("dense"): v_t is mapped from the verifier's tokens to the
                               policy's by the text that they share (`cme.scoring.alignment`) and normalised over the
                               group (`cme.training.advantages`); the logged reward is still r

Deviations from the paper's code: the log-softmax is computed in float32, not bfloat16, and values per token stay with
their completion instead of being looked up by text. The paper leaves open whether the end-of-turn token is scored, the
maximum lengths of prompt and response, and the reward of an empty response; here each is a setting. With the untrained
policy as verifier this reward is the control `self_likelihood`.
"""

import copy
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from cme.grading.answers import answer_span
from cme.models import chat
from cme.rewards.base import LogMetric, Texts, TokenIds
from cme.rewards.cross_model.settings import (
    CrossModelEntropySettings,
    VerifierReward,
    VerifierSettings,
    with_signature_of,
)
from cme.scoring.policy import SupportsTokenRewards

if TYPE_CHECKING:
    import torch

    from cme.scoring.policy import PolicyHolder
    from cme.scoring.verifier import Score, Verifier

_log = logging.getLogger(__name__)

LARGEST = 3.4e38
"""TRL keeps rewards in float32. A perplexity above this is not a reward."""


class CrossModelEntropy(VerifierReward):
    """The mean log-likelihood of each response under a verifier, in nats per token, or a variant of it.

    Args:
        verifier: name of a checkpoint, or several names.
        settings: fields of `CrossModelEntropySettings`.

    Example:
        trainer = GRPOTrainer(model, reward_funcs=CrossModelEntropy("google/gemma-3-4b-it"), ...)
    """

    __name__ = "cme"
    SETTINGS: ClassVar[type[VerifierSettings]] = CrossModelEntropySettings

    @with_signature_of(CrossModelEntropySettings)
    def __init__(self, verifier: str | Sequence[str], **settings: Any) -> None:
        self._apply(CrossModelEntropySettings(verifier, **settings))
        self.verifiers = [_load_verifier(name, self.settings) for name in self.settings.verifiers]
        self._logged_reasons: set[str] = set()

    def _apply(self, settings: CrossModelEntropySettings) -> None:
        self.settings = settings
        self.granularity, self.normalize = settings.granularity, settings.normalize
        self.std_floor = settings.std_floor
        needs_policy = {
            "score_end_of_turn=true": settings.score_end_of_turn,
            "granularity=token": self.granularity == "token",
            f"std_floor={self.std_floor}": self.std_floor > 0,
        }
        self._needs_policy = [field for field, needs in needs_policy.items() if needs]

    def variant(self, verifiers: "Sequence[Verifier] | None" = None, **changes: Any) -> Self:
        """This reward with some settings changed and the same loaded verifiers, or the given ones."""
        other = copy.copy(self)
        other._apply(replace(self.settings, **changes))  # noqa: SLF001 - of this class
        other.verifiers = list(verifiers or self.verifiers)
        return other

    def bind(self, trainer: "PolicyHolder") -> None:
        """Receive the trainer, whose tokenizer the policy samples with.

        Raises TypeError for settings that need advantages per token or a `std_floor`, if the trainer has neither.
        """
        if (self.granularity == "token" or self.std_floor > 0) and not isinstance(
            trainer, SupportsTokenRewards
        ):
            raise TypeError(
                f"granularity={self.granularity} with std_floor={self.std_floor} needs the trainer of "
                "`cme.training.grpo.train_grpo`; TRL's own trainer has one reward per completion and no std_floor"
            )
        super().bind(trainer)

    def __call__(
        self,
        prompts: Texts,
        completions: Texts,
        completion_ids: TokenIds,
        log_metric: LogMetric | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """Score B completions. Raises RuntimeError where the settings need `bind` and it was not called."""
        import torch

        from cme.rewards.cross_model import pooling

        settings = self.settings
        if self._policy is None and self._needs_policy:
            raise RuntimeError(f"{' and '.join(self._needs_policy)}: call bind(trainer) before training")
        texts = [chat.to_text(c) for c in completions]
        ended = self.finished_flags(completion_ids) if settings.score_end_of_turn else [False] * len(texts)
        under_each = [self._token_values(verifier, prompts, texts, ended) for verifier in self.verifiers]
        rows = list(zip(*under_each, strict=True))  # per completion: score, values under each verifier
        if log_metric:
            prompts_cut = sum(any(score.prompt_truncated for score, _ in row) for row in rows)
            responses_cut = sum(any(score.response_truncated for score, _ in row) for row in rows)
            log_metric("prompt_truncated", prompts_cut / len(rows))
            log_metric("response_truncated", responses_cut / len(rows))
        pooled = torch.tensor(
            [[self._pool(text, *one) for one in row] for text, row in zip(texts, rows, strict=True)]
        )  # (B, verifiers)
        combined = pooling.combine(pooled.T, settings.ensemble)
        bounded = pooling.bound(combined, settings.clip, settings.sigmoid)
        rewards = [
            settings.empty_response
            if not score.tokens and not text.strip()
            else None
            if reward.isnan()
            else float(reward)
            for reward, text, ((score, _), *_) in zip(bounded, texts, rows, strict=True)
        ]
        if self.granularity == "token":
            aligned = list(map(self._align, texts, completion_ids, rows))
            self.token_values = [
                torch.full((len(ids),), float("nan")) if values is None else values
                for values, ids in zip(aligned, completion_ids, strict=True)
            ]
            if log_metric:
                log_metric("unaligned", sum(values is None for values in aligned) / len(aligned))
        self._warn_of_unscored([row for reward, row in zip(rewards, rows, strict=True) if reward is None])
        return rewards

    def _warn_of_unscored(self, rows: "Sequence[Sequence[tuple[Score, torch.Tensor]]]") -> None:
        """Log why responses have no reward, each reason once, given their scores under each verifier."""
        for reason in dict.fromkeys(score.reason for row in rows for score, _ in row):
            if reason is not None and reason not in self._logged_reasons:
                self._logged_reasons.add(reason)
                _log.warning("a response has no reward: %s (logged once)", reason)

    def _token_values(
        self, verifier: "Verifier", prompts: Texts, texts: Sequence[str], ended: Sequence[bool]
    ) -> "list[tuple[Score, torch.Tensor]]":
        """Each response's score and its values v (T,) under one verifier."""
        by_entropy = self.settings.metric == "predictive_entropy"
        scores = verifier.score(prompts, texts, ended, entropy=by_entropy)
        if by_entropy:
            return [(s, -s.entropies) for s in scores]
        if not self.settings.pmi:
            return [(s, s.log_likelihoods) for s in scores]
        without_prompt = verifier.score([""] * len(texts), texts, ended)
        pairs = zip(scores, without_prompt, strict=True)
        return [(s, s.log_likelihoods - w.log_likelihoods) for s, w in pairs]

    def _pool(self, text: str, score: "Score", values: "torch.Tensor") -> float:
        """One response's reward under one verifier; NaN where it cannot be scored."""
        from cme.rewards.cross_model import pooling

        settings = self.settings
        if score.reason is not None or not values.isfinite().all():
            return float("nan")
        uses_answer = settings.span != "response" or settings.no_answer_penalty > 0
        characters = answer_span(text, settings.answers) if uses_answer else None
        answer = None if characters is None else pooling.span_mask(score, *characters)
        weight, penalty = settings.answer_weight, settings.no_answer_penalty
        value = pooling.pool_span(values, answer, settings.metric, settings.span, weight, penalty)
        return value if abs(value) <= LARGEST else float("nan")

    def _align(
        self, text: str, ids: Sequence[int], row: "Sequence[tuple[Score, torch.Tensor]]"
    ) -> "torch.Tensor | None":
        """The verifiers' values on the policy's tokens (T,), combined and bounded; NaN for a token without a value.

        None where the tokens cannot be aligned with the text: no advantage is invented for them.
        """
        import torch

        from cme.rewards.cross_model import pooling
        from cme.scoring import alignment

        settings = self.settings
        [finished] = self.finished_flags([ids])
        aligned = []
        try:
            targets = alignment.sampled_ends(self.policy_tokenizer, ids, text)
            for verifier, (score, values) in zip(self.verifiers, row, strict=True):
                if score.reason is not None or not values.isfinite().all():
                    return torch.full((len(ids),), float("nan"))
                _, sources = alignment.text_ends(verifier.tokenizer, text)
                ends = {"source_ended": score.ended, "target_ended": finished}
                on_tokens = alignment.align_response(
                    values.numpy(), sources, targets, mode=settings.alignment, **ends
                )
                aligned.append(torch.as_tensor(on_tokens, dtype=torch.float32))
        except alignment.AlignmentError as error:
            _log.warning("a completion gets no advantage: %s", error)
            return None
        combined = pooling.combine(torch.stack(aligned), settings.ensemble)  # (verifiers, T) -> (T,)
        return pooling.bound(combined, settings.clip, settings.sigmoid)


def _load_verifier(name: str, settings: CrossModelEntropySettings) -> "Verifier":
    from cme.checkpoints import load, load_tokenizer
    from cme.scoring.server import CompletionServer
    from cme.scoring.token_scorer import TokenScorer
    from cme.scoring.verifier import Engine, Verifier

    engine: Engine
    if settings.server is None:
        checkpoint = load(
            name,
            dtype=settings.dtype,
            device=settings.device,
            quantization=settings.quantization,
            chat_template_kwargs=settings.chat_template_kwargs,
        )
        tokenizer = checkpoint.tokenizer
        engine = TokenScorer(checkpoint.model.requires_grad_(False), batch_tokens=settings.batch_tokens)
    else:
        tokenizer, engine = (
            load_tokenizer(name, settings.chat_template_kwargs),
            CompletionServer(**settings.server),
        )
    return Verifier(
        tokenizer,
        engine,
        max_prompt_tokens=settings.max_prompt_tokens,
        max_response_tokens=settings.max_response_tokens,
    )
