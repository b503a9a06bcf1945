"""Tokenizers of the families, trained here, with their own pre-tokenizers, special tokens and files."""

import json
from collections.abc import Mapping, Sequence
from functools import cache

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from tests.rehearsal.stand_ins.texts import corpus

LLAMA_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_WORDS = LLAMA_WORDS.replace(r"\p{N}{1,3}", r"\p{N}")

QWEN_CONTROLS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>"),
    *("<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
)
QWEN_ADDED = (
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
    *("<|repo_name|>", "<|file_sep|>"),
)
LLAMA_CONTROLS = (
    *("<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>"),
    *("<|finetune_right_pad_id|>", "<|reserved_special_token_2|>", "<|start_header_id|>"),
    *("<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>"),
    *(f"<|reserved_special_token_{i}|>" for i in range(3, 20)),
)
OLMO_CONTROLS = (
    *("|||IP_ADDRESS|||", "<|endoftext|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"),
    *("|||PHONE_NUMBER|||", "<|im_start|>", "<|im_end|>", "<|endofprompt|>", "<|pad|>"),
)
GEMMA_CONTROLS = {0: "<pad>", 1: "<eos>", 2: "<bos>", 3: "<unk>", 4: "<mask>", 5: "[multimodal]"}
GEMMA3_CONTROLS = GEMMA_CONTROLS | {105: "<start_of_turn>", 106: "<end_of_turn>"}
GEMMA3_LATE_CONTROLS = ("<start_of_image>", "<end_of_image>", "<image_soft_token>")
GEMMA4_CONTROLS = GEMMA_CONTROLS | {
    **{46: "<|tool>", 47: "<tool|>", 48: "<|tool_call>", 49: "<tool_call|>", 50: "<|tool_response>"},
    **{51: "<tool_response|>", 52: '<|"|>', 98: "<|think|>", 100: "<|channel>", 101: "<channel|>"},
    **{105: "<|turn>", 106: "<turn|>"},
}
GEMMA4_LATE_CONTROLS = ("<|image>", "<|audio>", "<|image|>", "<|audio|>", "<image|>", "<audio|>", "<|video|>")
GEMMA_WHITE_SPACE = ("\n", "\n\n", "\n\n\n", "▁▁", "▁▁▁", "▁▁▁▁", "<table>", "</table>", "<strong>")
GEMMA_FIRST_IDS = 107  # the ids that control and unused tokens share


@cache
def qwen() -> Tokenizer:
    """Qwen 2.5: single digits, composed Unicode, no BOS."""
    tokenizer = _byte_level(QWEN_WORDS, 1500, QWEN_CONTROLS, QWEN_ADDED)
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


@cache
def llama() -> Tokenizer:
    """Llama 3: up to three digits, a BOS that the tokenizer writes."""
    tokenizer = _byte_level(LLAMA_WORDS, 1600, LLAMA_CONTROLS, ignore_merges=True)
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=False), _bos_first(tokenizer, "<|begin_of_text|>")]
    )
    return tokenizer


@cache
def olmo() -> Tokenizer:
    """OLMo 2: Llama's words, no BOS from the tokenizer."""
    return _byte_level(LLAMA_WORDS, 1400, OLMO_CONTROLS)


@cache
def gemma3() -> Tokenizer:
    """Gemma 3, whose turn tokens have fixed ids and no name in its configuration."""
    return _gemma(1700, GEMMA3_CONTROLS, GEMMA3_LATE_CONTROLS)


@cache
def gemma4() -> Tokenizer:
    """Gemma 4."""
    return _gemma(1800, GEMMA4_CONTROLS, GEMMA4_LATE_CONTROLS)


def _byte_level(
    words: str, size: int, controls: Sequence[str], added: Sequence[str] = (), *, ignore_merges: bool = False
) -> Tokenizer:
    """A byte-level BPE; its special tokens come behind the vocabulary."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in controls])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in added])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def _gemma(size: int, controls: Mapping[int, str], late_controls: Sequence[str]) -> Tokenizer:
    """Gemma's BPE: special tokens first, at their own ids; bytes as fallback; spaces as ▁."""
    first = [controls.get(i, f"<unused{i}>") for i in range(GEMMA_FIRST_IDS)]
    unused = [text for text in first if text.startswith("<unused")]
    byte_tokens = [f"<0x{i:02X}>" for i in range(256)]
    learner = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    learner.normalizer = normalizers.Replace(" ", "▁")
    learner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")  # no merge spans two words
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[*first, *GEMMA_WHITE_SPACE, *byte_tokens], show_progress=False
    )
    learner.train_from_iterator(corpus(), trainer)
    learned = json.loads(learner.to_str())["model"]
    tokenizer = Tokenizer(
        models.BPE(
            vocab=learned["vocab"],
            merges=[tuple(merge) for merge in learned["merges"]],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    special = [AddedToken(text, special=True, normalized=False) for text in first if text not in unused]
    normal = [AddedToken(text, special=False, normalized=False) for text in (*unused, *GEMMA_WHITE_SPACE)]
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens(normal)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in late_controls])
    tokenizer.post_processor = _bos_first(tokenizer, "<bos>")
    return tokenizer


def _bos_first(tokenizer: Tokenizer, bos: str) -> processors.TemplateProcessing:
    return processors.TemplateProcessing(
        single=f"{bos} $A",
        pair=f"{bos} $A {bos}:1 $B:1",
        special_tokens=[(bos, tokenizer.token_to_id(bos))],
    )
