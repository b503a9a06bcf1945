"""The control `cut start`: the untrained model's own responses, cut short without any training.

A policy that beats its start by no more than the cut start does has learned to stop. Where the data have an oracle, a
response is cut at its first sentence end. Elsewhere it is cut before the first line that begins another turn or, if
there is none, to as many tokens as the policy's response to the same prompt has.
"""

import re
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from cme.checkpoints import load_tokenizer
from cme.models import chat
from cme.records import Generation, Pair, Verdict
from experiments.config.components import Component
from experiments.config.runs import Run
from experiments.run import judging

SENTENCE_END = re.compile(r"[.!?](?=\s|$)")
STOP_STRING = re.compile(
    r"\n\s*(?:(?:user|human|assistant|question|q|instruction)\s*:|#+\s*(?:instruction|response|input)\b"
    r"|<\|(?:im_start|im_end|user|assistant|endoftext|eot_id|start_header_id)\|>|<(?:start|end)_of_turn>|</s>)",
    re.IGNORECASE,
)
"""The beginning of another turn, in the formats of chat templates and instruction data."""


def cut_starts(run: Run, pairs: Sequence[Pair]) -> list[Generation]:
    """The untrained model's responses of the pairs, cut short."""
    if run.data.oracle is not None:
        return [cut_at_sentence_end(pair.start) for pair in pairs]
    tokenizer = load_tokenizer(run.generator, run.chat_template.generator)
    return [cut_to_length(tokenizer, pair.start, pair.policy) for pair in pairs]


def cut_at_sentence_end(response: Generation) -> Generation:
    """The first sentence of a response, as one that ended by itself; all of a response without a sentence end."""
    end = SENTENCE_END.search(response.response)
    return response if end is None else _cut(response, response.response[: end.end()], finished=True)


def cut_to_length(tokenizer: PreTrainedTokenizerBase, response: Generation, policy: Generation) -> Generation:
    """A response before its first stop string or, without one, at most as many tokens of it as `policy` has."""
    stop = STOP_STRING.search(response.response)
    if stop is not None:
        return _cut(response, response.response[: stop.start()].rstrip(), finished=True)
    assert policy.tokens is not None, "the policy's response has a known length"
    limit = policy.tokens - bool(policy.finished)  # without its end-of-turn token
    ids = chat.response_ids(tokenizer, response.response)
    if len(ids) <= limit:
        return response
    return _cut(response, str(tokenizer.decode(ids[:limit], skip_special_tokens=True)), finished=False)


def _cut(response: Generation, text: str, *, finished: bool) -> Generation:
    """The response with another text; the response itself if that is equal."""
    if (text, finished) == (response.response, response.finished):
        return response
    return Generation(text, finished, tokens=None)


def are_identical(pair: Pair) -> bool:
    """Whether a judge would read the same response twice."""
    return (pair.start.response, pair.start.finished) == (pair.policy.response, pair.policy.finished)


def tie_verdicts(judge: Component, pairs: Sequence[Pair], both_orders: bool) -> list[Verdict]:
    """A tie by each judge on each pair of identical responses in each order, without a call.

    A judge that combines the orders gives one for both.
    """
    verdicts = []
    for name, member in judging.judges(judge).items():
        combines = judging.judge_class(member).combines_orders
        orders = (True, False) if both_orders and not combines else (True,)
        scores = (None, None) if combines else None
        verdicts += [
            Verdict(pair.prompt_id, policy_first, "tie", judge=name, orders=scores)
            for pair in pairs
            for policy_first in orders
        ]
    return verdicts
