"""Cross-Model Entropy (Gorbett and Shirazi, arXiv 2605.29009).

    r(x, y) = 1/T sum_t log q(y_t | x, y_<t)          nats a token

q is the verifier, a frozen model other than the policy; x is the prompt rendered in the verifier's own chat
template; y_1..T is the response in the verifier's own tokens. Higher: the verifier is less surprised.

Variants, all off by default. With v_t the value of token t:
    metric=log_likelihood      v_t = log q(y_t | x, y_<t),   r = mean v
    metric=perplexity          r = -exp(-mean v), the predecessor's cross-model perplexity (arXiv 2603.25450)
    metric=predictive_entropy  v_t = -H(q(. | x, y_<t)),     r = mean v (the predecessor's cross-model entropy)
    pmi                        v_t = log q(y_t | x, y_<t) - log q(y_t | x0, y_<t), x0 the template without words
    span=answer | blended      r over the answer's tokens, or (1 - w) r(response) + w r(answer); a response
                               without an answer gets r(response) - no_answer_penalty
    several verifiers          mean or minimum of their rewards
    clip, sigmoid              min(max(r, low), high);  1 / (1 + exp(-(r - center) / width)); with
                               granularity=token of each token's value, too
    std_floor                  the advantage divides by max(std of the group's rewards, std_floor)
    granularity=token          one advantage a token ("dense"): v_t carried from the verifier's tokens to the
                               policy's by overlapping text (`cme.rewards.alignment`), normalised over the group
                               (`cme.training.advantages`); the reward that is logged is still r

Deviations and choices the paper leaves open: log-softmax in float32 (the paper's code: bfloat16); whether
the end-of-turn token is scored, the lengths to which prompt and response are cut, and what an empty response
gets are explicit; dense values travel with their rows (the paper's code looks them up by text). With the
policy's untrained start as verifier this is the control `self_likelihood`.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from cme.grading.answers import AnswerKind, answer_span
from cme.models import chat

if TYPE_CHECKING:
    import torch
    from trl import GRPOTrainer

    from cme.scoring.verifier import Score, Verifier

_log = logging.getLogger(__name__)

LARGEST = 3.4e38
"""TRL keeps rewards in float32: a perplexity beyond it is no reward."""


class CrossModelEntropy:
    """The mean log-likelihood of each response under a verifier, in nats a token, or a variant of it.

    Args:
        verifier: name of a checkpoint (a hub id, a folder, `package:...`, `miniature:...`), or several names.
        metric, pmi, span, answer_weight, no_answer_penalty, ensemble, clip, sigmoid: see the module.
        answers: what part of a response is its answer, for a span other than `response`.
        granularity: `sequence`, or `token` for one advantage a token; `alignment` and `normalize` say how.
        std_floor: lowest standard deviation by which a group's advantages are divided.
        score_end_of_turn: score the verifier's end-of-turn token behind a response which the policy ended
            itself. Needs `bind(trainer)`, since text alone does not show how a response ended.
        max_prompt_tokens: longer prompts are cut from the left.
        max_response_tokens: longer responses are cut from the right.
        empty_response: reward of a response without a token to score; None leaves it unscored. An empty response
            whose end of turn is scored has a token.
        dtype, device: of the verifier; by default on the GPU where there is one.
        quantization: `8bit` rounds the verifier's weights (`cme.checkpoints.load`) and so changes its values; None does
            not.
        batch_tokens: bound on rows x columns of a forward pass.
        server: arguments of `cme.scoring.server.CompletionServer`, which then scores in the verifier's place.

    Example:
        trainer = GRPOTrainer(model, reward_funcs=CrossModelEntropy("google/gemma-3-4b-it"), ...)
    """

    __name__ = "cme"
    needs_answers = False

    def __init__(
        self,
        verifier: str | Sequence[str],
        *,
        metric: Literal["log_likelihood", "perplexity", "predictive_entropy"] = "log_likelihood",
        pmi: bool = False,
        span: Literal["response", "answer", "blended"] = "response",
        answers: AnswerKind = "none",
        answer_weight: float = 0.5,
        no_answer_penalty: float = 0.0,
        ensemble: Literal["mean", "min"] = "mean",
        clip: Sequence[float] | None = None,
        sigmoid: Sequence[float] | None = None,
        granularity: Literal["sequence", "token"] = "sequence",
        alignment: Literal["mean", "sum"] = "mean",
        normalize: Literal["position", "sequence"] = "position",
        std_floor: float = 0.0,
        score_end_of_turn: bool = False,
        max_prompt_tokens: int = 2048,
        max_response_tokens: int = 2048,
        empty_response: float | None = None,
        dtype: str = "float32",
        device: str | None = None,
        quantization: Literal["8bit"] | None = None,
        batch_tokens: int = 4096,
        server: dict[str, Any] | None = None,
    ) -> None:
        given = {key: value for key, value in locals().items() if key != "self"}
        self.check(**given)
        self.metric, self.pmi, self.span, self.answers = metric, pmi, span, answers
        self.answer_weight, self.no_answer_penalty = answer_weight, no_answer_penalty
        self.ensemble, self.clip, self.sigmoid = ensemble, clip, sigmoid
        self.granularity, self.alignment, self.normalize = granularity, alignment, normalize
        self.std_floor = std_floor
        self.empty_response = empty_response
        self.score_end_of_turn = score_end_of_turn
        self.scorers = [
            _scorer(
                name,
                score_end_of_turn,
                max_prompt_tokens,
                max_response_tokens,
                dtype,
                device,
                quantization,
                batch_tokens,
                server,
            )
            for name in ([verifier] if isinstance(verifier, str) else verifier)
        ]
        self.token_values: list[torch.Tensor] = []
        """After a call with granularity=token: per completion one value a sampled token, NaN where it has none."""
        self._misaligned = 0
        self._said: set[str] = set()
        self._policy_tokenizer: Any = None

    @staticmethod
    def check(**settings: Any) -> None:
        """Raise ValueError, before anything loads, for settings that exclude each other."""
        for key, hint in get_type_hints(CrossModelEntropy.__init__).items():
            if key in settings and get_origin(hint) is Literal and settings[key] not in get_args(hint):
                raise ValueError(f"{key}={settings[key]}; it must be one of {', '.join(get_args(hint))}")
        metric, span = settings.get("metric", "log_likelihood"), settings.get("span", "response")
        if settings.get("pmi") and metric != "log_likelihood":
            raise ValueError(f"metric={metric} with pmi=true; pmi is a difference of log-likelihoods")
        if span != "response" and settings.get("answers", "none") == "none":
            raise ValueError(f"span={span} with answers=none; use data whose responses have an answer")
        if not 0 <= settings.get("answer_weight", 0.5) <= 1:
            raise ValueError(f"answer_weight={settings['answer_weight']}; it must be between 0 and 1")
        verifier, server = settings.get("verifier", "?"), settings.get("server")
        if not verifier or not all(isinstance(name, str) for name in verifier):
            raise ValueError(f"verifier={verifier}; it must be the name of a checkpoint, or a list of names")
        if server and not isinstance(verifier, str) and len(verifier) > 1:
            raise ValueError(f"server with {len(verifier)} verifiers; a server stands in for one")
        if server and not {"url", "model", "dialect"} <= set(server):
            raise ValueError(f"server={server}; it needs url, model and dialect")
        for key in ("max_prompt_tokens", "max_response_tokens", "batch_tokens"):
            if settings.get(key, 1) < 1:
                raise ValueError(f"{key}={settings[key]}; it must be at least 1")
        for key in ("no_answer_penalty", "std_floor"):
            if settings.get(key, 0.0) < 0:
                raise ValueError(f"{key}={settings[key]}; it must be at least 0")
        clip, sigmoid = settings.get("clip"), settings.get("sigmoid")
        if clip is not None and not (_is_pair(clip) and clip[0] < clip[1]):
            raise ValueError(f"clip={clip}; it must be [low, high] with low below high")
        if sigmoid is not None and not (_is_pair(sigmoid) and sigmoid[1] > 0):
            raise ValueError(f"sigmoid={sigmoid}; it must be [center, width] with width above 0")
        if settings.get("granularity") == "token" and (span != "response" or metric == "perplexity"):
            raise ValueError(
                f"granularity=token with span={span} and metric={metric}; it takes span=response and "
                "metric=log_likelihood or predictive_entropy"
            )
        if settings.get("quantization") is not None:
            from cme.checkpoints import check_quantization

            if server:
                raise ValueError(
                    "quantization with a server; how a server rounds its weights is its own affair"
                )
            check_quantization(
                settings["quantization"], [verifier] if isinstance(verifier, str) else verifier
            )
        if settings.get("server") and metric == "predictive_entropy":
            raise ValueError("metric=predictive_entropy with a server; servers give log-probabilities only")

    def bind(self, trainer: "GRPOTrainer") -> None:
        """Learn from the trainer which tokens the policy samples and which one ends its turn.

        Raises TypeError for a trainer that would not use what the settings ask for.
        """
        if (self.granularity == "token" or self.std_floor > 0) and not hasattr(trainer, "own_advantages"):
            raise TypeError(
                f"granularity={self.granularity} with std_floor={self.std_floor} needs the trainer of "
                "`cme.training.grpo.train_grpo`; TRL's own knows one reward a completion and no floor"
            )
        self._policy_tokenizer = trainer.processing_class

    def __call__(
        self,
        prompts: Sequence[chat.Text],
        completions: Sequence[chat.Text],
        completion_ids: Sequence[Sequence[int]],
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """Score B completions. Raises RuntimeError where the policy's tokens are needed and `bind` was not called."""
        import torch

        from cme.rewards import pooling

        asked = {
            "score_end_of_turn=true": self.score_end_of_turn,
            "granularity=token": self.granularity == "token",
            f"std_floor={self.std_floor}": self.std_floor > 0,
        }
        if any(asked.values()) and self._policy_tokenizer is None:
            fields = " and ".join(field for field, set_so in asked.items() if set_so)
            raise RuntimeError(f"{fields}: bind(trainer) must be called before training")
        end = self._policy_tokenizer.eos_token_id if self._policy_tokenizer is not None else None
        finished = chat.finished_flags(completion_ids, end)
        texts = [chat.to_text(c) for c in completions]
        scored = [self._values(scorer, prompts, texts, finished) for scorer in self.scorers]
        if log_metric:
            for part in ("prompt_truncated", "response_truncated"):
                cut = [any(getattr(score, part) for score, _ in each) for each in zip(*scored, strict=True)]
                log_metric(part, sum(cut) / len(cut))
        rows = list(zip(texts, *scored, strict=True))
        pooled = torch.tensor(
            [[self._pool(text, *one) for one in each] for text, *each in rows]
        )  # (B, verifiers)
        rewards = pooling.bound(pooling.combine(pooled.T, self.ensemble), self.clip, self.sigmoid)
        if self.granularity == "token":
            self._misaligned = 0
            self.token_values = [
                self._on_sampled_tokens(text, ids, each)
                for (text, *each), ids in zip(rows, completion_ids, strict=True)
            ]
            if log_metric:
                log_metric("unaligned", self._misaligned / len(self.token_values))
        values = [
            self.empty_response if not one.tokens else None if reward.isnan() else float(reward)
            for reward, (one, _) in zip(rewards, scored[0], strict=True)
        ]
        self._say_why(s.reason for i, v in enumerate(values) if v is None for s, _ in (e[i] for e in scored))
        return values

    def _values(
        self, scorer: "Verifier", prompts: Sequence[chat.Text], texts: Sequence[str], finished: Sequence[bool]
    ) -> "list[tuple[Score, torch.Tensor]]":
        """Each response's score and its values (T,) under one verifier."""
        by_entropy = self.metric == "predictive_entropy"
        scores = scorer.score(prompts, texts, finished, entropy=by_entropy)
        if by_entropy:
            return [(s, -s.entropies) for s in scores]
        if not self.pmi:
            return [(s, s.log_likelihoods) for s in scores]
        alone = scorer.score([""] * len(texts), texts, finished)
        return [(s, s.log_likelihoods - a.log_likelihoods) for s, a in zip(scores, alone, strict=True)]

    def _say_why(self, reasons: Iterable[str | None]) -> None:
        """Log each reason for which a response has no reward, once."""
        for reason in dict.fromkeys(reasons):
            if reason is not None and reason not in self._said:
                self._said.add(reason)
                _log.warning("a response has no reward: %s (said once)", reason)

    def _pool(self, text: str, score: "Score", values: "torch.Tensor") -> float:
        """One response's reward under one verifier; NaN where it cannot be scored."""
        from cme.rewards import pooling

        if score.reason is not None or not values.isfinite().all():
            return float("nan")
        place = None if self.span == "response" else answer_span(text, self.answers)
        answer = None if place is None else pooling.span_mask(score, *place)
        value = pooling.pool_span(
            values, answer, self.metric, self.span, self.answer_weight, self.no_answer_penalty
        )
        return value if abs(value) <= LARGEST else float("nan")

    def _on_sampled_tokens(
        self, text: str, ids: Sequence[int], each: "Sequence[tuple[Score, torch.Tensor]]"
    ) -> "torch.Tensor":
        """The verifiers' values on the policy's tokens (T,), combined and bounded; NaN where there is none.

        All are NaN, so that no advantage is made up, where the tokens cannot be laid over the text.
        """
        import torch

        from cme.rewards import alignment, pooling

        nothing = torch.full((len(ids),), float("nan"))
        [ended] = chat.finished_flags([ids], self._policy_tokenizer.eos_token_id)
        carried = []
        try:
            targets = alignment.sampled_ends(self._policy_tokenizer, ids, text)
            for scorer, (score, values) in zip(self.scorers, each, strict=True):
                if score.reason is not None or not values.isfinite().all():
                    return nothing
                _, sources = alignment.text_ends(scorer.tokenizer, text)
                on_tokens = alignment.align_response(
                    values.numpy(),
                    sources,
                    targets,
                    source_ended=score.ended,
                    target_ended=ended,
                    mode=self.alignment,
                )
                carried.append(torch.as_tensor(on_tokens, dtype=torch.float32))
        except alignment.AlignmentError as error:
            _log.warning("a completion gets no advantage: %s", error)
            self._misaligned += 1
            return nothing
        combined = pooling.combine(torch.stack(carried), self.ensemble)  # (verifiers, T) -> (T,)
        return pooling.bound(combined, self.clip, self.sigmoid)


def _is_pair(value: Any) -> bool:
    numbers = isinstance(value, Sequence) and all(isinstance(v, int | float) for v in value)
    return numbers and len(value) == 2


def _scorer(
    name: str,
    score_end_of_turn: bool,
    max_prompt_tokens: int,
    max_response_tokens: int,
    dtype: str,
    device: str | None,
    quantization: Literal["8bit"] | None,
    batch_tokens: int,
    server: dict[str, Any] | None,
) -> "Verifier":
    from cme.checkpoints import load, load_tokenizer
    from cme.scoring.server import CompletionServer
    from cme.scoring.token_scorer import TokenScorer
    from cme.scoring.verifier import Engine, Verifier

    engine: Engine
    if server is None:
        checkpoint = load(name, dtype=dtype, device=device, quantization=quantization)
        tokenizer = checkpoint.tokenizer
        engine = TokenScorer(checkpoint.model.requires_grad_(False), batch_tokens=batch_tokens)
    else:
        tokenizer, engine = load_tokenizer(name), CompletionServer(**server)
    return Verifier(
        tokenizer,
        engine,
        score_end_of_turn=score_end_of_turn,
        max_prompt_tokens=max_prompt_tokens,
        max_response_tokens=max_response_tokens,
    )
