"""The four miniature families: real architectures, each with its own tokenizer and chat template."""

from collections.abc import Iterable
from dataclasses import dataclass

import tokenizers as tk
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA = (
    "<|begin_of_text|>{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "<bos>{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
OLMO = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}<|endoftext|>{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """A family of models.

    Attributes:
        vocabulary: size of the tokenizer's vocabulary.
        pieces: `byte` for byte-level BPE, `sentencepiece` for BPE on `▁` pieces.
        specials: special tokens: padding, end of text, end of turn, then others that the template uses.
        template: the chat template.
    """

    config: type[PreTrainedConfig]
    model: type[PreTrainedModel]
    vocabulary: int
    pieces: str
    specials: tuple[str, ...]
    template: str
    bos: str | None = None


FAMILIES = {
    "qwen": Family(
        Qwen2Config, Qwen2ForCausalLM, 640, "byte",
        ("<|pad|>", "<|endoftext|>", "<|im_end|>", "<|im_start|>"), CHATML,
    ),
    "llama": Family(
        LlamaConfig, LlamaForCausalLM, 592, "byte",
        ("<|pad|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>",
         "<|begin_of_text|>"), LLAMA, "<|begin_of_text|>",
    ),
    "gemma": Family(
        Gemma3TextConfig, Gemma3ForCausalLM, 672, "sentencepiece",
        ("<pad>", "<eos>", "<end_of_turn>", "<start_of_turn>", "<bos>", "<unk>"), GEMMA, "<bos>",
    ),
    "olmo": Family(
        Olmo2Config, Olmo2ForCausalLM, 624, "byte",
        ("<|pad|>", "<|endoftext|>", "<|user|>", "<|assistant|>"), OLMO,
    ),
}  # fmt: skip


def train_tokenizer(family: Family, texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train the family's tokenizer on `texts`, without a chat template."""
    if family.pieces == "byte":
        raw = tk.Tokenizer(models.BPE())
        raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        raw.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        raw = tk.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
        raw.normalizer = normalizers.Replace(" ", "▁")
        raw.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split("▁", "merged_with_next"), pre_tokenizers.Punctuation()]
        )
        raw.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        )
        alphabet = []
    fallback = [f"<0x{i:02X}>" for i in range(256)] if family.pieces == "sentencepiece" else []
    trainer = trainers.BpeTrainer(
        vocab_size=family.vocabulary,
        special_tokens=[*family.specials, *fallback],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token=family.specials[0],
        eos_token=family.specials[1],
        bos_token=family.bos,
        additional_special_tokens=list(family.specials[2:]),
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def make_model(family: Family, vocabulary: int, width: int, layers: int) -> PreTrainedModel:
    """A model of the family's architecture with random weights drawn from torch's global generator."""
    settings: dict[str, object] = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": 3 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": None if family.bos is None else family.specials.index(family.bos),
        "initializer_range": 0.05,
    }
    if family.config is Gemma3TextConfig:
        settings |= {"head_dim": width // 4, "query_pre_attn_scalar": width // 4, "sliding_window": 64}
    return family.model(family.config(**settings))
