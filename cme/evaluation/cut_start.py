"""The control `cut start`: the untrained model's own responses, cut short without any training.

A policy that beats its start by no more than the cut start does has learned to stop. Where the data have an oracle, a
response is cut at its first sentence end. Elsewhere it is cut before the first line that begins another turn or, if
there is none, to as many tokens as the policy's response to the same prompt has.
"""

import re

from transformers import PreTrainedTokenizerBase

from cme.models import chat
from cme.records import Generation

SENTENCE_END = re.compile(r"[.!?](?=\s|$)")
STOP_STRING = re.compile(
    r"\n\s*(?:(?:user|human|assistant|question|q|instruction)\s*:|#+\s*(?:instruction|response|input)\b"
    r"|<\|(?:im_start|im_end|user|assistant|endoftext|eot_id|start_header_id)\|>|<(?:start|end)_of_turn>|</s>)",
    re.IGNORECASE,
)
"""The beginning of another turn, in the formats of chat templates and instruction data."""


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
    unchanged = (text, finished) == (response.response, response.finished)
    return response if unchanged else Generation(text, finished, tokens=None)
