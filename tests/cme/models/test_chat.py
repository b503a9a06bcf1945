"""Prompt rendering and the boundary between prompt and response."""

from collections.abc import Callable
from pathlib import Path

import pytest
import tokenizers as tk
from tokenizers import models, pre_tokenizers
from transformers import GenerationConfig, PreTrainedTokenizerFast

from cme.checkpoints import Checkpoint
from cme.miniature.families import FAMILIES
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


def test_prompt_is_rendered_up_to_where_the_response_begins(tiny: Tiny, family: str) -> None:
    tokenizer = tiny(family).tokenizer
    assert tokenizer.decode(chat.prompt_ids(tokenizer, PROMPT)) == RENDERED[family]
    assert chat.prompt_ids(tokenizer, PROMPT) == chat.prompt_ids(tokenizer, MESSAGES[:1])


def test_prompt_and_response_ids_are_a_prefix_of_the_conversations(tiny: Tiny, family: str) -> None:
    tokenizer = tiny(family).tokenizer
    response = "red, as all foxes are."  # the miniature Gemma has a token for a line break with "the"
    messages = [MESSAGES[0], {"role": "assistant", "content": response}]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    whole = tokenizer(text, add_special_tokens=False)["input_ids"]
    ours = chat.prompt_ids(tokenizer, PROMPT) + chat.response_ids(tokenizer, response)
    ours.append(chat.end_of_turn_id(tokenizer))
    assert whole[: len(ours)] == ours


def test_without_a_template_the_text_is_the_plain_one(tiny: Tiny, family: str) -> None:
    tokenizer = tiny(family, plain=True).tokenizer
    ours = chat.prompt_ids(tokenizer, PROMPT) + chat.response_ids(tokenizer, RESPONSE)
    ours.append(chat.end_of_turn_id(tokenizer))
    bos = {"llama": "<|begin_of_text|>", "gemma": "<bos>"}.get(family, "")
    expected = f"{bos}### Instruction:\n{PROMPT}\n\n### Response:\n{RESPONSE}{END_OF_TEXT[family]}"
    assert tokenizer.decode(ours) == expected


def test_end_of_turn_is_the_templates_own(tiny: Tiny, family: str) -> None:
    tokenizer = tiny(family).tokenizer
    assert tokenizer.convert_ids_to_tokens(chat.end_of_turn_id(tokenizer)) == END_OF_TURN[family]
    plain = tiny(family, plain=True).tokenizer
    assert plain.convert_ids_to_tokens(chat.end_of_turn_id(plain)) == END_OF_TEXT[family]


@pytest.mark.parametrize(
    ("template", "role"),
    [
        ("answer: {{ messages[-1]['content'] }}", "user"),
        ("{{ messages[0]['content'] }}<|im_end|>", "assistant"),
    ],
)
def test_a_template_that_leaves_out_a_message_is_refused(tiny: Tiny, template: str, role: str) -> None:
    """Its prompts would have no question."""
    tokenizer = tiny("qwen").tokenizer
    tokenizer.chat_template = template
    named = rf"chat template of {tokenizer.name_or_path} leaves out the {role}'s message; .*delete it there"
    with pytest.raises(ValueError, match=named):
        chat.end_of_turn_id(tokenizer)


def test_an_end_of_turn_need_not_be_named(tiny_folder: Callable[..., Path]) -> None:
    """Gemma 3's tokenizer marks `<end_of_turn>` as special but names only `<bos>`, `<eos>` and the like."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(tiny_folder("gemma") / "tokenizer.json"),
        eos_token="<eos>",
        chat_template=FAMILIES["gemma"].template,
    )
    assert "<end_of_turn>" not in tokenizer.all_special_tokens
    assert tokenizer.convert_ids_to_tokens(chat.end_of_turn_id(tokenizer)) == "<end_of_turn>"
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"  # has no end
    assert tokenizer.convert_ids_to_tokens(chat.end_of_turn_id(tokenizer)) == "<eos>"
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="no token that ends a turn"):
        chat.end_of_turn_id(tokenizer)


@pytest.mark.parametrize(
    ("configured", "expected"), [(None, [2]), (2, [2]), (1, [1, 2]), ([5, 1], [1, 2, 5]), ([2], [2])]
)
def test_end_ids_are_those_of_the_generation_config_and_the_template(
    tiny: Tiny, configured: int | list[int] | None, expected: list[int]
) -> None:
    tokenizer = tiny("qwen").tokenizer
    assert tokenizer.convert_ids_to_tokens([1, 2]) == ["<|endoftext|>", "<|im_end|>"]
    assert list(chat.end_ids(tokenizer, GenerationConfig(eos_token_id=configured))) == expected


def test_finished_is_what_ends_with_any_end_token() -> None:
    assert chat.finished_flags([[3, 1], [3, 2], [1, 3], []], (1, 2)) == [True, True, False, False]


def vocabulary(*words: str, fuse: bool = False, unknown: str | None = "<unk>") -> PreTrainedTokenizerFast:
    """A tokenizer of characters (BPE without merges) or, with longer words, of words."""
    ids = {word: i for i, word in enumerate(["<unk>", "</s>", *words])}
    if all(len(word) == 1 for word in words):
        raw = tk.Tokenizer(models.BPE(ids, [], unk_token=unknown, fuse_unk=fuse))
    else:
        raw = tk.Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
        raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token=unknown, eos_token="</s>")


@pytest.mark.parametrize(
    ("tokenizer", "text", "unknown"),
    [
        (vocabulary("the", "fox", "is", "red"), "the fox is gray", False),  # 4 of 11 letters
        (vocabulary("the", "fox", "is", "red"), "the fox appears gray", True),  # 11 of 17
        (vocabulary("the", "fox", "is", "red"), "   ", False),
        (vocabulary("the", "fox", "is", "red"), "", False),
        (vocabulary("a", "b"), "abxy", False),  # half
        (vocabulary("a", "b"), "abxyz", True),
        (vocabulary("a", "b", fuse=True), "abxyz", True),  # one token for three letters
        (vocabulary("a", "b", unknown=None), "xyz", True),  # no token for any
        (vocabulary(), "the fox", True),
    ],
)
def test_a_text_is_unknown_if_most_of_its_characters_are(
    tokenizer: PreTrainedTokenizerFast, text: str, unknown: bool
) -> None:
    assert chat.unknown_flags(tokenizer, [text, text]) == [unknown] * 2


def test_bytes_of_a_text_are_known(tiny: Tiny, family: str) -> None:
    texts = ["日本語", "🦊🦊", "हिंदी", "the fox", "\ufffd"]
    assert not any(chat.unknown_flags(tiny(family).tokenizer, texts))


def test_a_prompt_that_is_mostly_unknown_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="does not know most of the prompt 'xyz'"):
        chat.refuse_unknown_prompts(vocabulary("a", "b"), ["ab", [{"role": "user", "content": "xyz"}]])
