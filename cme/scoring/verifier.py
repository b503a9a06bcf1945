"""A frozen verifier that scores responses of any generator, in its own template and tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from transformers import PreTrainedTokenizerBase

from cme.models import chat
from cme.scoring.token_scorer import Ids, TokenScores


class Engine(Protocol):
    """What computes token scores: `TokenScorer` in this process, `CompletionServer` behind a server."""

    def score(
        self, prompts: Sequence[Ids], responses: Sequence[Ids], *, entropy: bool = False
    ) -> list[TokenScores]:
        """Scores of each response's token ids given its prompt's."""
        ...


@dataclass(frozen=True)
class Score:
    """A verifier's score of one response.

    `log_likelihoods` (T,) in nats, float32, and `entropies` (T,), empty unless asked for, are over the verifier's
    tokens; `offsets` are the T tokens' character spans in the response. Where `ended`, the last token is the
    verifier's end of turn. `prompt_truncated` and `response_truncated` say what was cut to the scorer's limits,
    `reason` why the response has no score, None where it has one.
    """

    log_likelihoods: torch.Tensor
    entropies: torch.Tensor
    offsets: list[tuple[int, int]]
    ended: bool
    prompt_truncated: bool
    response_truncated: bool
    reason: str | None

    @property
    def tokens(self) -> int:
        """How many tokens were scored."""
        return len(self.log_likelihoods)

    @property
    def truncated(self) -> bool:
        """Whether prompt or response was cut."""
        return self.prompt_truncated or self.response_truncated

    @property
    def mean(self) -> float | None:
        """Mean log-likelihood, nats a token; None where there is a `reason`."""
        return None if self.reason else float(self.log_likelihoods.mean())


class Verifier:
    """Renders prompts, tokenizes and cuts responses, and has them scored.

    Args:
        tokenizer: the verifier's, with a chat template.
        engine: computes the scores of token ids.
        score_end_of_turn: whether a response that its generator ended itself is scored with the verifier's
            own end-of-turn token behind it.
        max_prompt_tokens: longer prompts lose their first tokens.
        max_response_tokens: longer responses lose their last tokens, the end-of-turn token with them.

    Raises ValueError for a tokenizer that cannot say where its tokens lie in the text, or has no template.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        engine: Engine,
        *,
        score_end_of_turn: bool,
        max_prompt_tokens: int,
        max_response_tokens: int,
    ) -> None:
        name = tokenizer.name_or_path
        if not tokenizer.is_fast:
            raise ValueError(
                f"the tokenizer of {name} is a slow one; a verifier needs one with a tokenizer.json"
            )
        if min(max_prompt_tokens, max_response_tokens) < 1:
            raise ValueError(
                f"max_prompt_tokens={max_prompt_tokens} and max_response_tokens={max_response_tokens}; "
                "both must be at least 1"
            )
        if tokenizer.chat_template is None:
            raise ValueError(f"the tokenizer of {name} has no chat template; set tokenizer.chat_template")
        self.tokenizer = tokenizer
        self.engine = engine
        self.score_end_of_turn = score_end_of_turn
        self.max_prompt_tokens = max_prompt_tokens
        self.max_response_tokens = max_response_tokens
        self._end = chat.end_of_turn_id(tokenizer)

    def score(
        self,
        prompts: Sequence[chat.Text],
        responses: Sequence[str],
        finished: Sequence[bool],
        *,
        entropy: bool = False,
    ) -> list[Score]:
        """Score N responses given their prompts; `finished` as in `score_end_of_turn`."""
        if not len(responses):
            return []
        rendered: dict[str, list[int]] = {}
        for prompt in prompts:
            if repr(prompt) not in rendered:
                rendered[repr(prompt)] = chat.prompt_ids(self.tokenizer, prompt)
        heads = [rendered[repr(prompt)] for prompt in prompts]
        encoded = self.tokenizer(
            list(responses),
            add_special_tokens=False,
            split_special_tokens=True,  # a response that spells out a control token has not ended its turn
            return_offsets_mapping=True,
        )
        ends = [self.score_end_of_turn and f for f in finished]
        tails = [[*ids, *[self._end] * e] for ids, e in zip(encoded["input_ids"], ends, strict=True)]
        scored = self.engine.score(
            [h[-self.max_prompt_tokens :] for h in heads],
            [t[: self.max_response_tokens] for t in tails],
            entropy=entropy,
        )
        return [
            Score(
                one.log_likelihoods,
                one.entropies,
                offsets=[*spans, *[(len(text), len(text))] * end][: self.max_response_tokens],
                ended=end and len(tail) <= self.max_response_tokens,
                prompt_truncated=len(head) > self.max_prompt_tokens,
                response_truncated=len(tail) > self.max_response_tokens,
                reason=one.reason or _why_not(one.log_likelihoods),
            )
            for one, spans, text, end, head, tail in zip(
                scored, encoded["offset_mapping"], responses, ends, heads, tails, strict=True
            )
        ]


def _why_not(log_likelihoods: torch.Tensor) -> str | None:
    if not len(log_likelihoods):
        return "the response is empty"
    if not torch.isfinite(log_likelihoods).all():
        return "the verifier's log-likelihoods are not finite"
    return None
