"""Chat templates: how a prompt is rendered for a model, and where its response begins and ends.

The rendered prompt is tokenized by itself, and the tokens of the response follow it. So the boundary between the two is
exact and never has to be found in the text.
"""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from cme.models.rendering import encode, message_text

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase

StopRule = Literal["both", "checkpoint", "template"]
"""Which tokens end a response: the checkpoint's own, its chat template's end of turn, or both."""
Message = dict[str, Any]
Text = str | list[Message]
"""A prompt or completion as TRL passes it: plain text, or a list of messages."""

PLAIN_TEMPLATE = (
    "{{ bos_token or '' }}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ m['content'] }}\n\n{% elif m['role'] == 'user' %}"
    "### Instruction:\n{{ m['content'] }}\n\n### Response:\n"
    "{% else %}{{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
"""For checkpoints without a chat template: Alpaca's instruction format, with a system message as its preamble."""


def to_text(text: Text) -> str:
    """The text of a prompt or completion: the text itself, or the content of its last message."""
    return text if isinstance(text, str) else message_text(text[-1])


def prompt_ids(tokenizer: "PreTrainedTokenizerBase", prompt: Text) -> list[int]:
    """Token ids of the prompt in the tokenizer's chat template, up to where a response begins.

    A text of the prompt that spells a control token is tokenized as text. A prompt of several messages is a
    conversation whose last message is of the user; its system message is part of the first user message if the
    template has no place for it. Raises ValueError as `cme.models.rendering.encode` does.
    """
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return encode(tokenizer, [{**m, "content": message_text(m)} for m in messages])


def prompts_ids(tokenizer: "PreTrainedTokenizerBase", prompts: Sequence[Text]) -> list[list[int]]:
    """`prompt_ids` of each prompt; equal prompts are rendered once."""
    ids: dict[str, list[int]] = {}
    for prompt in prompts:
        if repr(prompt) not in ids:
            ids[repr(prompt)] = prompt_ids(tokenizer, prompt)
    return [ids[repr(prompt)] for prompt in prompts]


def unknown_flags(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[bool]:
    """Whether more than half of each text's characters, blanks aside, are in unknown tokens, or none has a token.

    A slow tokenizer gives no positions; there, half of the tokens count instead of half of the characters.
    """
    encoded = tokenizer(
        list(texts),
        add_special_tokens=False,
        split_special_tokens=True,
        return_offsets_mapping=bool(tokenizer.is_fast),
    )
    flags = []
    for i, text in enumerate(texts):
        ids, unknown = encoded["input_ids"][i], tokenizer.unk_token_id
        if unknown not in ids:
            flags.append(not ids and not text.isspace() and text != "")
        elif not tokenizer.is_fast:
            flags.append(2 * ids.count(unknown) > len(ids))
        else:
            spans = [
                span
                for token, span in zip(ids, encoded["offset_mapping"][i], strict=True)
                if token == unknown
            ]
            covered = "".join(text[start:end] for start, end in spans)
            flags.append(2 * len("".join(covered.split())) > len("".join(text.split())))
    return flags


def refuse_unknown_prompts(tokenizer: "PreTrainedTokenizerBase", prompts: Sequence[Text]) -> None:
    """Raise ValueError for a prompt of which a tokenizer does not know most (`unknown_flags`)."""
    texts = list(dict.fromkeys(map(to_text, prompts)))
    for text, unknown in zip(texts, unknown_flags(tokenizer, texts), strict=True):
        if unknown:
            raise ValueError(
                f"the tokenizer of {tokenizer.name_or_path} does not know most of the prompt {text[:60]!r}; use a "
                "checkpoint whose tokenizer does, or remove the prompt"
            )


def response_ids(tokenizer: "PreTrainedTokenizerBase", response: str) -> list[int]:
    """Token ids of the response, without an end-of-turn token. A control token that it spells is tokenized as text."""
    return cast(
        "list[int]", tokenizer(response, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    )


def special_ids(tokenizer: "PreTrainedTokenizerBase") -> set[int]:
    """Ids of the added tokens that the tokenizer marks as special, with or without a name such as `eos_token`."""
    marked = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return marked | set(tokenizer.all_special_ids)


def end_of_turn_id(tokenizer: "PreTrainedTokenizerBase") -> int:
    """Id of the special token that the chat template writes behind an assistant's message.

    Without a template, or with one that writes no special token there, it is the end-of-text token. Raises ValueError
    if there is neither, and for a template that leaves out the user's or the assistant's message.
    """
    if tokenizer.chat_template is not None:
        conversation = [{"role": "user", "content": "xqx"}, {"role": "assistant", "content": "zqz"}]
        rendered = str(tokenizer.apply_chat_template(conversation, tokenize=False))
        for role, text in (("user", "xqx"), ("assistant", "zqz")):
            if text not in rendered:
                raise ValueError(
                    f"the chat template of {tokenizer.name_or_path} leaves out the {role}'s message; correct "
                    "chat_template in the files of its tokenizer, or delete it there, for Alpaca's plain format"
                )
        special = special_ids(tokenizer)
        for token_id in tokenizer(rendered.rsplit("zqz", 1)[1], add_special_tokens=False)["input_ids"]:
            if token_id in special:
                return int(token_id)
    if tokenizer.eos_token_id is None:
        raise ValueError(f"the tokenizer of {tokenizer.name_or_path} has no token that ends a turn")
    return int(tokenizer.eos_token_id)


def configured_end_ids(config: "GenerationConfig") -> tuple[int, ...]:
    """The ids at which a generation config ends a response; empty if it names none."""
    ids = config.eos_token_id
    return () if ids is None else (ids,) if isinstance(ids, int) else tuple(ids)


def end_ids(tokenizer: "PreTrainedTokenizerBase", config: "GenerationConfig") -> tuple[int, ...]:
    """All ids that end a response of a model, sorted.

    They are those of its generation config, its template's end of turn, and its tokenizer's `eos_token`. TRL ends
    completions at the same ids where the `eos_token` is the end of turn, as `cme.checkpoints.load` sets it.
    """
    ids = {*configured_end_ids(config), end_of_turn_id(tokenizer)}
    return tuple(sorted(ids if tokenizer.eos_token_id is None else ids | {tokenizer.eos_token_id}))


def finished_flags(completion_ids: Sequence[Sequence[int]], end_ids: Collection[int]) -> list[bool]:
    """Whether the policy ended each completion itself: its last token is one of `end_ids`."""
    return [len(ids) > 0 and ids[-1] in end_ids for ids in completion_ids]
