"""Prompts of several messages, and prompts that spell control tokens."""

from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from cme.checkpoints import Checkpoint
from cme.miniature.families import FAMILIES
from cme.models import chat

Tiny = Callable[..., Checkpoint]
SYSTEM = {"role": "system", "content": "be short."}
USER = {"role": "user", "content": "what color is the fox?"}
TURNS = [USER, {"role": "assistant", "content": "red."}, {"role": "user", "content": "and the owl?"}]


def _with_control(tokenizer: Any, word: str) -> Any:
    tokenizer.add_special_tokens({"extra_special_tokens": [word]})
    return tokenizer


def test_control_tokens_of_the_template_alone_are_control_tokens(tiny: Tiny, family: str) -> None:
    """A tokenizer to which the word is a control token reads it as one that does not know the control token."""
    question, control = "what color is the fox?", "e fo"
    plain = chat.prompt_ids(tiny(family).tokenizer, question)
    tokenizer = _with_control(tiny(family).tokenizer, control)
    assert chat.prompt_ids(tokenizer, question) == plain
    assert chat.prompt_ids(tokenizer, [{"role": "user", "content": question}]) == plain
    unprotected = tokenizer(question, add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_tokens_to_ids(control) in unprotected


@pytest.mark.parametrize("question", ["a fox", "fox", " a  fox a"])
@pytest.mark.parametrize("scheme", ["first", "always", "never"])
def test_blanks_are_as_in_a_prompt_without_control_tokens(question: str, scheme: str) -> None:
    def make(*controls: str) -> Any:
        words = ["?", "▁a", "▁fox", "▁", "a", "fox"]
        core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="?"))
        core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="?", eos_token="<end>")
        tokenizer.chat_template = "<end>{% for m in messages %}{{ m['content'] }}<end>{% endfor %} a"
        for control in controls:
            _with_control(tokenizer, control)
        return tokenizer

    assert chat.prompt_ids(make("fox"), question) == chat.prompt_ids(make(), question)


def test_responses_spell_control_tokens_as_text(tiny: Tiny, family: str) -> None:
    plain = chat.response_ids(tiny(family).tokenizer, "the fox")
    assert chat.response_ids(_with_control(tiny(family).tokenizer, "e fo"), "the fox") == plain


@pytest.mark.parametrize("plain", [False, True])
def test_several_turns(tiny: Tiny, plain: bool) -> None:
    expected = (
        "### Instruction:\nwhat color is the fox?\n\n### Response:\nred.<|endoftext|>"
        "### Instruction:\nand the owl?\n\n### Response:\n"
        if plain
        else "<|im_start|>user\nwhat color is the fox?<|im_end|>\n<|im_start|>assistant\nred.<|im_end|>\n"
        "<|im_start|>user\nand the owl?<|im_end|>\n<|im_start|>assistant\n"
    )
    tokenizer = tiny("qwen", plain=plain).tokenizer
    assert tokenizer.decode(chat.prompt_ids(tokenizer, TURNS)) == expected
    assert chat.to_text(TURNS) == "and the owl?"


REFUSES = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
)
DROPS = (
    "{% for m in messages %}{% if m['role'] == 'user' %}<|im_start|>{{ m['content'] }}<|im_end|>{% endif %}"
)
KEEPS = "{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"
MERGED = "<|im_start|>be short.\n\nwhat color is the fox?<|im_end|>"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (REFUSES + KEEPS, MERGED),
        (DROPS + "{% endfor %}", MERGED),
        (KEEPS, "<|im_start|>be short.<|im_end|><|im_start|>what color is the fox?<|im_end|>"),
        (chat.PLAIN_TEMPLATE, "be short.\n\n### Instruction:\nwhat color is the fox?\n\n### Response:\n"),
    ],
)
def test_system_message(tiny: Tiny, template: str, expected: str) -> None:
    """A template without a system role has it in the first user message, as Gemma's own template does."""
    tokenizer = tiny("qwen").tokenizer
    tokenizer.chat_template = template
    assert tokenizer.decode(chat.prompt_ids(tokenizer, [SYSTEM, USER])) == expected


def test_text_in_parts(tiny: Tiny) -> None:
    tokenizer = tiny("qwen").tokenizer
    parts = [{"type": "text", "text": "what color "}, {"type": "text", "text": "is the fox?"}]
    message = {"role": "user", "content": parts}
    assert chat.prompt_ids(tokenizer, [message]) == chat.prompt_ids(tokenizer, USER["content"])
    assert chat.to_text([message]) == USER["content"]


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([{"role": "user", "content": [{"type": "image"}]}], "must be text"),
        ([{"role": "user", "content": None}], "must be text"),
        ([], "must be of the user"),
        ([SYSTEM], "must be of the user"),
        (TURNS[:2], "must be of the user"),
        ([USER, USER], "roles must alternate"),
        ([SYSTEM, USER, USER], "roles must alternate"),
    ],
)
def test_prompts_that_cannot_be_rendered(tiny: Tiny, messages: list[Any], message: str) -> None:
    tokenizer = tiny("qwen").tokenizer
    tokenizer.chat_template = (
        "{% if messages|length == 2 and messages[1]['role'] == 'user' %}{{ raise_exception('roles must alternate') }}"
        "{% endif %}" + FAMILIES["qwen"].template
    )
    if messages == [SYSTEM, USER, USER]:
        tokenizer.chat_template = REFUSES + tokenizer.chat_template
    with pytest.raises(ValueError, match=message):
        chat.prompt_ids(tokenizer, messages)
