"""Prompt rendering and the boundary between prompt and response."""

from collections.abc import Callable

import pytest

from cme.checkpoints import Checkpoint
from cme.models import chat

Tiny = Callable[..., Checkpoint]
PROMPT, RESPONSE = "what color is the fox?", "the fox is red and lives in the forest."
MESSAGES = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": RESPONSE}]
END_OF_TURN = {
    "qwen": "<|im_end|>",
    "llama": "<|eot_id|>",
    "gemma": "<end_of_turn>",
    "olmo": "<|endoftext|>",
}
END_OF_TEXT = {
    "qwen": "<|endoftext|>",
    "llama": "<|end_of_text|>",
    "gemma": "<eos>",
    "olmo": "<|endoftext|>",
}
RENDERED = {
    "qwen": f"<|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\n",
    "llama": f"<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{PROMPT}<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "gemma": f"<bos><start_of_turn>user\n{PROMPT}<end_of_turn>\n<start_of_turn>model\n",
    "olmo": f"<|user|>\n{PROMPT}\n<|assistant|>\n",
}


def test_text_and_messages() -> None:
    assert chat.to_text("a") == "a"
    assert chat.to_text([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]) == "b"
    assert chat.to_messages("a") == [{"role": "user", "content": "a"}]
    assert chat.to_messages(MESSAGES) == MESSAGES


def test_prompt_is_rendered_up_to_where_the_response_begins(tiny: Tiny, family: str) -> None:
    tokenizer = tiny(family).tokenizer
    assert tokenizer.decode(chat.prompt_ids(tokenizer, PROMPT)) == RENDERED[family]
    assert chat.prompt_ids(tokenizer, PROMPT) == chat.prompt_ids(tokenizer, MESSAGES[:1])


def test_prompt_and_response_ids_are_a_prefix_of_the_conversations(tiny: Tiny, family: str) -> None:
    tokenizer = tiny(family).tokenizer
    text = tokenizer.apply_chat_template(MESSAGES, tokenize=False)
    whole = tokenizer(text, add_special_tokens=False)["input_ids"]
    ours = chat.prompt_ids(tokenizer, PROMPT) + chat.response_ids(tokenizer, RESPONSE)
    ours.append(chat.end_of_turn_id(tokenizer))
    assert whole[: len(ours)] == ours


def test_without_a_template_the_text_is_the_plain_one(tiny: Tiny, family: str) -> None:
    tokenizer = tiny(family, plain=True).tokenizer
    ours = chat.prompt_ids(tokenizer, PROMPT) + chat.response_ids(tokenizer, RESPONSE)
    ours.append(chat.end_of_turn_id(tokenizer))
    bos = {"llama": "<|begin_of_text|>", "gemma": "<bos>"}.get(family, "")
    expected = f"{bos}### Instruction:\n{PROMPT}\n\n### Response:\n{RESPONSE}{END_OF_TEXT[family]}"
    assert tokenizer.decode(ours) == expected


def test_response_has_no_special_tokens(tiny: Tiny, family: str) -> None:
    tokenizer = tiny(family).tokenizer
    ids = chat.response_ids(tokenizer, RESPONSE)
    assert not set(ids) & set(tokenizer.all_special_ids)
    assert tokenizer.decode(ids) == RESPONSE
    assert chat.response_ids(tokenizer, "") == []


def test_end_of_turn_is_the_templates_own(tiny: Tiny, family: str) -> None:
    tokenizer = tiny(family).tokenizer
    assert tokenizer.convert_ids_to_tokens(chat.end_of_turn_id(tokenizer)) == END_OF_TURN[family]
    plain = tiny(family, plain=True).tokenizer
    assert plain.convert_ids_to_tokens(chat.end_of_turn_id(plain)) == END_OF_TEXT[family]


def test_a_template_without_an_end_falls_back_to_the_end_of_text(tiny: Tiny) -> None:
    tokenizer = tiny("qwen").tokenizer
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    tokenizer.eos_token = "<|endoftext|>"
    assert tokenizer.convert_ids_to_tokens(chat.end_of_turn_id(tokenizer)) == "<|endoftext|>"
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="no token that ends a turn"):
        chat.end_of_turn_id(tokenizer)
