"""Settings of the rewards that a verifier computes. This module loads no torch, so that settings are checked early."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, ClassVar, Literal, TypeVar, get_args, get_origin

from cme.grading.answers import AnswerKind
from cme.models import template_variables
from cme.rewards.base import Granularity, Normalize, Reward
from cme.scoring.alignment import Alignment

Metric = Literal["log_likelihood", "perplexity", "predictive_entropy"]
Span = Literal["response", "answer", "blended"]
Ensemble = Literal["mean", "min"]
Constructor = TypeVar("Constructor", bound=Callable[..., None])


@dataclass(frozen=True)
class VerifierSettings:
    """How a verifier is loaded and what it reads.

    Args:
        verifier: name of a checkpoint (a hub id, a folder, `package:...`, `miniature:...`), or several names.
        score_end_of_turn: whether the verifier's end-of-turn token is scored behind a response that the policy ended
            itself. This needs `bind(trainer)`, since the text alone does not show how a response ended.
        max_prompt_tokens: longer prompts lose their first tokens.
        max_response_tokens: longer responses lose their last tokens.
        dtype: precision of the verifier's weights.
        device: where the verifier runs; None for the GPU where there is one.
        chat_template_kwargs: values for variables of the verifier's chat template, such as
            `{"enable_thinking": False}`, and the date that it writes (`cme.models.template_variables`).
        quantization: `8bit` rounds the verifier's weights (`cme.checkpoints.load`), which changes its values.
        batch_tokens: bound on rows x columns of a forward pass.

    Raises ValueError for a value that is out of range and for settings that cannot be used together.
    """

    NEUTRAL: ClassVar[frozenset[str]] = frozenset({"batch_tokens", "device"})
    NEUTRAL_VALUES: ClassVar[dict[str, Any]] = {"chat_template_kwargs": template_variables.DEFAULTS}

    verifier: str | Sequence[str]
    _: KW_ONLY
    score_end_of_turn: bool = False
    max_prompt_tokens: int = 2048
    max_response_tokens: int = 2048
    dtype: str = "float32"
    device: str | None = None
    chat_template_kwargs: Mapping[str, Any] | None = None
    quantization: Literal["8bit"] | None = None
    batch_tokens: int = 4096

    def __post_init__(self) -> None:
        for field in fields(self):
            choices, value = get_args(field.type), vars(self)[field.name]
            if get_origin(field.type) is Literal and value not in choices:
                raise ValueError(f"{field.name}={value}; it must be one of {', '.join(choices)}")
        listed = isinstance(self.verifier, str | Sequence)  # a text is the list of its letters
        if not listed or not self.verifier or not all(isinstance(name, str) for name in self.verifier):
            raise ValueError(
                f"verifier={self.verifier}; it must be the name of a checkpoint, or a list of names"
            )
        for name in ("max_prompt_tokens", "max_response_tokens", "batch_tokens"):
            if vars(self)[name] < 1:
                raise ValueError(f"{name}={vars(self)[name]}; it must be at least 1")
        template_variables.check(self.chat_template_kwargs)
        if self.quantization is not None:
            from cme.availability import check_quantization

            check_quantization(self.quantization, self.verifiers)

    @property
    def verifiers(self) -> tuple[str, ...]:
        """The names of all verifiers."""
        return (self.verifier,) if isinstance(self.verifier, str) else tuple(self.verifier)


@dataclass(frozen=True, kw_only=True)
class CrossModelEntropySettings(VerifierSettings):
    """Settings of Cross-Model Entropy. `cme.rewards.cross_model.cross_model_entropy` has the formulas of the variants.

    Args:
        metric: what is pooled over the verifier's tokens.
        pmi: subtract the log-likelihood of the response without the prompt.
        span: the part of the response that is pooled.
        answers: what part of a response is its answer, for `no_answer_penalty` and for a span other than `response`.
        answer_weight: weight of the answer, from 0 to 1, for `span="blended"`.
        no_answer_penalty: subtracted where a response has no answer, whatever the span.
        ensemble: how the rewards of several verifiers are combined.
        clip: bounds [low, high] of the reward.
        sigmoid: [center, width] of a sigmoid through which the reward passes.
        granularity: `token` for one advantage per token; `alignment` and `normalize` say how.
        alignment: how values on the verifier's tokens are mapped onto the policy's (`cme.scoring.alignment.align`).
        normalize: how values per token are normalised over a group (`cme.training.advantages`).
        std_floor: lowest standard deviation by which the advantages of a group are divided.
        empty_response: reward of a response without a token to score; None leaves it unscored. An empty response whose
            end of turn is scored has a token.
        server: arguments of `cme.scoring.server.CompletionServer`, which then computes the verifier's values.

    The other arguments are those of `VerifierSettings`. Raises ValueError as they do, and for a setting that would have
    no effect beside the others.
    """

    metric: Metric = "log_likelihood"
    pmi: bool = False
    span: Span = "response"
    answers: AnswerKind = "none"
    answer_weight: float = 0.5
    no_answer_penalty: float = 0.0
    ensemble: Ensemble = "mean"
    clip: Sequence[float] | None = None
    sigmoid: Sequence[float] | None = None
    granularity: Granularity = "sequence"
    alignment: Alignment = "mean"
    normalize: Normalize = "position"
    std_floor: float = 0.0
    empty_response: float | None = None
    server: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pmi and self.metric != "log_likelihood":
            raise ValueError(f"metric={self.metric} with pmi=true; pmi is a difference of log-likelihoods")
        if self.span != "response" and self.answers == "none":
            raise ValueError(
                f"span={self.span} with answers=none; use data whose responses have an answer, or span=response"
            )
        if self.no_answer_penalty > 0 and self.answers == "none":
            raise ValueError(
                f"no_answer_penalty={self.no_answer_penalty} with answers=none; use data whose responses have an "
                "answer, or no_answer_penalty=0"
            )
        if not 0 <= self.answer_weight <= 1:
            raise ValueError(f"answer_weight={self.answer_weight}; it must be between 0 and 1")
        for name in ("no_answer_penalty", "std_floor"):
            if vars(self)[name] < 0:
                raise ValueError(f"{name}={vars(self)[name]}; it must be at least 0")
        if self.clip is not None and not (_is_pair(self.clip) and self.clip[0] < self.clip[1]):
            raise ValueError(f"clip={self.clip}; it must be [low, high] with low below high")
        if self.sigmoid is not None and not (_is_pair(self.sigmoid) and self.sigmoid[1] > 0):
            raise ValueError(f"sigmoid={self.sigmoid}; it must be [center, width] with width above 0")
        if self.granularity == "token" and (self.span != "response" or self.metric == "perplexity"):
            raise ValueError(
                f"granularity=token with span={self.span} and metric={self.metric}; it needs span=response and "
                "metric=log_likelihood or predictive_entropy"
            )
        if self.server is not None:
            if len(self.verifiers) > 1:
                raise ValueError(f"server with {len(self.verifiers)} verifiers; a server serves one verifier")
            if not {"url", "model", "dialect"} <= set(self.server):
                raise ValueError(f"server={self.server}; it needs url, model and dialect")
            if self.quantization is not None:
                raise ValueError(
                    f"quantization={self.quantization} with a server; set the precision of the weights on the server"
                )
            if self.metric == "predictive_entropy":
                raise ValueError(
                    "metric=predictive_entropy with a server; servers return log-probabilities only"
                )
        self._refuse_without_effect()

    def _refuse_without_effect(self) -> None:
        by_token, blended = self.granularity == "token", self.span == "blended"
        conditions = {
            "answer_weight": (blended, "span=blended"),
            "ensemble": (len(self.verifiers) > 1, "several verifiers"),
            "alignment": (by_token, "granularity=token"),
            "normalize": (by_token, "granularity=token"),
            "no_answer_penalty": (not by_token, "granularity=sequence"),
            "empty_response": (not by_token, "granularity=sequence"),
            "device": (self.server is None, "a verifier without server"),
        }
        for field in fields(self):
            value = vars(self)[field.name]
            has_effect, condition = conditions.get(field.name, (True, ""))
            if value != field.default and not has_effect:
                raise ValueError(f"{field.name}={value} has no effect here; it needs {condition}")


class VerifierReward(Reward):
    """A reward that a verifier computes, and whose settings are those of a class."""

    SETTINGS: ClassVar[type[VerifierSettings]]
    NEUTRAL = VerifierSettings.NEUTRAL
    NEUTRAL_VALUES = VerifierSettings.NEUTRAL_VALUES

    @classmethod
    def check(cls, **settings: Any) -> None:
        """Raise ValueError for settings that cannot be used, before a verifier loads."""
        cls.SETTINGS(**settings)


def with_signature_of(settings: type[VerifierSettings]) -> Callable[[Constructor], Constructor]:
    """Decorator that gives a constructor with `**settings` the signature of a settings class.

    The configuration is checked against this signature, and `help()` shows it.
    """

    def decorate(constructor: Constructor) -> Constructor:
        instance = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        fields_of = inspect.signature(settings).parameters.values()
        constructor.__signature__ = inspect.Signature([instance, *fields_of])  # type: ignore[attr-defined]
        return constructor

    return decorate


def _is_pair(value: Any) -> bool:
    return isinstance(value, Sequence) and len(value) == 2 and all(isinstance(v, int | float) for v in value)
