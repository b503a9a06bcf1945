"""Prompt rendering: how an instruction is put to a model, and where its response begins and ends.

The prompt is rendered and tokenized by itself and the response's tokens are put behind it, so the
boundary between the two is exact by construction and never guessed from the text.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = dict[str, str]
Text = str | list[Message]
"""A prompt or completion as TRL hands it over: plain text, or a list of messages."""

PLAIN_TEMPLATE = (
    "{{ bos_token or '' }}{% for m in messages %}{% if m['role'] == 'user' %}"
    "### Instruction:\n{{ m['content'] }}\n\n### Response:\n"
    "{% else %}{{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
"""For checkpoints without a chat template: the instruction format of Alpaca, without its preamble."""


def to_text(text: Text) -> str:
    """The words of a prompt or completion: the text itself, or the content of its last message."""
    return text if isinstance(text, str) else text[-1]["content"]


def to_messages(prompt: Text) -> list[Message]:
    """The prompt as messages; plain text becomes one user message."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def prompt_ids(tokenizer: "PreTrainedTokenizerBase", prompt: Text) -> list[int]:
    """Token ids of the prompt rendered in the tokenizer's chat template, up to where a response begins."""
    rendered = tokenizer.apply_chat_template(to_messages(prompt), tokenize=False, add_generation_prompt=True)
    return cast("list[int]", tokenizer(str(rendered), add_special_tokens=False)["input_ids"])


def response_ids(tokenizer: "PreTrainedTokenizerBase", response: str) -> list[int]:
    """Token ids of the response by itself, without its end-of-turn token."""
    return cast("list[int]", tokenizer(response, add_special_tokens=False)["input_ids"])


def finished_flags(completion_ids: Sequence[Sequence[int]], end: int | None) -> list[bool]:
    """Whether each completion's last token is the one that ends the turn: its model ended it itself."""
    return [len(ids) > 0 and ids[-1] == end for ids in completion_ids]


def end_of_turn_id(tokenizer: "PreTrainedTokenizerBase") -> int:
    """Id of the special token which the chat template writes behind an assistant's message.

    Where the template writes none it is the end-of-text token. Raises ValueError when there is neither.
    """
    probe = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "zqz"}]
    rendered = str(tokenizer.apply_chat_template(probe, tokenize=False))
    for token in response_ids(tokenizer, rendered.rsplit("zqz", 1)[1]):
        if token in tokenizer.all_special_ids:
            return token
    if tokenizer.eos_token_id is None:
        raise ValueError(f"the tokenizer of {tokenizer.name_or_path} has no token that ends a turn")
    return int(tokenizer.eos_token_id)
