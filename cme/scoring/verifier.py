"""A frozen verifier that scores the responses of any generator, in its own chat template and tokens."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Protocol

import torch
from transformers import PreTrainedTokenizerBase

from cme.models import chat
from cme.scoring.batches import Ids
from cme.scoring.token_scorer import EMPTY, TokenScores


class Engine(Protocol):
    """Computes token scores: `TokenScorer` in this process, `CompletionServer` through a server."""

    def score(
        self, prompts: Sequence[Ids], responses: Sequence[Ids], *, entropy: bool = False
    ) -> list[TokenScores]:
        """Scores of the token ids of N responses, given the token ids of their prompts."""
        ...


@dataclass(frozen=True)
class Score:
    """A verifier's score of one response with T tokens.

    Attributes:
        log_likelihoods: of the verifier's tokens (T,), in nats, float32.
        entropies: of the verifier's distributions (T,), in nats; empty unless requested.
        offsets: the character spans of the T tokens in the response.
        ended: whether the last token is the verifier's end of turn.
        prompt_truncated, response_truncated: whether the prompt or the response was longer than the verifier's limit.
        reason: why the response has no score; None where it has one.
        normalizers: the logsumexp of the verifier's logits (T,), in nats; empty where a server is the verifier.
    """

    log_likelihoods: torch.Tensor
    entropies: torch.Tensor
    offsets: list[tuple[int, int]]
    ended: bool
    prompt_truncated: bool
    response_truncated: bool
    reason: str | None
    normalizers: torch.Tensor = EMPTY

    @property
    def tokens(self) -> int:
        """The number of scored tokens."""
        return len(self.log_likelihoods)

    @property
    def truncated(self) -> bool:
        """Whether the prompt or the response was truncated."""
        return self.prompt_truncated or self.response_truncated

    @property
    def mean(self) -> float | None:
        """Mean log-likelihood, nats per token; None where there is a `reason`."""
        return None if self.reason else float(self.log_likelihoods.mean())


@dataclass(eq=False, repr=False)
class Verifier:
    """Renders prompts, tokenizes and truncates responses, and has them scored.

    Args:
        tokenizer: the verifier's tokenizer, with a chat template.
        engine: computes the scores of token ids.
        max_prompt_tokens: longer prompts lose their first tokens.
        max_response_tokens: longer responses lose their last tokens, the end-of-turn token with them.

    Raises ValueError for a tokenizer without a chat template or without offsets (a slow one).
    """

    tokenizer: PreTrainedTokenizerBase
    engine: Engine
    _: KW_ONLY
    max_prompt_tokens: int
    max_response_tokens: int

    def __post_init__(self) -> None:
        name = self.tokenizer.name_or_path
        if not self.tokenizer.is_fast:
            raise ValueError(
                f"the tokenizer of {name} is a slow one; a verifier needs a tokenizer with a tokenizer.json"
            )
        if self.tokenizer.chat_template is None:
            raise ValueError(f"the tokenizer of {name} has no chat template; set tokenizer.chat_template")
        self._end = chat.end_of_turn_id(self.tokenizer)

    def score(
        self,
        prompts: Sequence[chat.Text],
        responses: Sequence[str],
        ended: Sequence[bool],
        *,
        entropy: bool = False,
    ) -> list[Score]:
        """Score N responses given their prompts.

        `ended` (N,) says behind which responses the verifier's end-of-turn token is scored too: those that their
        generator ended itself.
        """
        if not len(responses):
            return []
        prompt_ids = chat.prompts_ids(self.tokenizer, prompts)
        encoded = self.tokenizer(
            list(responses),
            add_special_tokens=False,
            split_special_tokens=True,  # a response that spells out a control token has not ended its turn
            return_offsets_mapping=True,
        )
        response_ids = [
            [*ids, *[self._end] * end] for ids, end in zip(encoded["input_ids"], ended, strict=True)
        ]
        token_scores = self.engine.score(
            [ids[-self.max_prompt_tokens :] for ids in prompt_ids],
            [ids[: self.max_response_tokens] for ids in response_ids],
            entropy=entropy,
        )
        unknown = {
            "prompt": chat.unknown_flags(self.tokenizer, [chat.to_text(prompt) for prompt in prompts]),
            "response": chat.unknown_flags(self.tokenizer, responses),
        }
        scores = []
        for i, tokens in enumerate(token_scores):
            length, truncated = len(responses[i]), len(response_ids[i]) > self.max_response_tokens
            offsets = [*encoded["offset_mapping"][i], *[(length, length)] * ended[i]]
            scores.append(
                Score(
                    tokens.log_likelihoods,
                    tokens.entropies,
                    offsets=offsets[: self.max_response_tokens],
                    ended=ended[i] and not truncated,
                    prompt_truncated=len(prompt_ids[i]) > self.max_prompt_tokens,
                    response_truncated=truncated,
                    reason=self._find_reason(tokens, [text for text, flags in unknown.items() if flags[i]]),
                    normalizers=tokens.normalizers,
                )
            )
        return scores

    def _find_reason(self, tokens: TokenScores, unknown: Sequence[str]) -> str | None:
        """Why a response has no score, given which of its texts the tokenizer does not know; None where it has one."""
        if tokens.reason is not None:
            return tokens.reason
        if unknown:
            name = self.tokenizer.name_or_path
            return f"the tokenizer of {name} does not know most of the {' and the '.join(unknown)}"
        if not len(tokens.log_likelihoods):
            return "the response is empty"
        if not torch.isfinite(tokens.log_likelihoods).all():
            return "the verifier's log-likelihoods are not finite"
        return None
