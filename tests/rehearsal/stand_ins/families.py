"""The families' checkpoints as recipes: true architectures of tiny sizes, with the hub's configuration files."""

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from tokenizers import Tokenizer
from transformers import (
    Gemma3TextConfig,
    Gemma4Config,
    LlamaConfig,
    Olmo2Config,
    PreTrainedConfig,
    Qwen2Config,
)

from tests.rehearsal.stand_ins import tokenizers

OLMO_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}{{ '<|system|>\n' + "
    "message['content'] + '\n' }}{% elif message['role'] == 'user' %}{{ '<|user|>\n' + message['content'] + '\n' }}"
    "{% elif message['role'] == 'assistant' %}{% if not loop.last %}{{ '<|assistant|>\n'  + message['content'] + "
    "eos_token + '\n' }}{% else %}{{ '<|assistant|>\n'  + message['content'] + eos_token }}{% endif %}{% endif %}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}"
)
QWEN_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
QWEN_BASE_SYSTEM = "You are a helpful assistant."
QWEN_MATH_SYSTEM = (
    "Please reason step by step, and put your final answer within \\\\boxed{}."  # as Jinja escapes it
)
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
}
GEMMA_TOKENS = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}


@dataclass(frozen=True)
class Recipe:
    """How a stand-in is made.

    Attributes:
        tokenizer: the tokenizer.
        tokenizer_config: fields of tokenizer_config.json.
        template: the chat template; None for a checkpoint without one.
        model: the configuration of the model, whose weights are random.
        generation: fields of generation_config.json.
        end: the token that the model learns to write behind an answer.
        template_file: whether the template is a separate file.
        gpt2_files: whether vocab.json and merges.txt stand beside tokenizer.json.
    """

    tokenizer: Tokenizer
    tokenizer_config: dict[str, Any]
    template: str | None
    model: PreTrainedConfig
    generation: dict[str, Any]
    end: str
    template_file: bool = False
    gpt2_files: bool = False


def qwen(*, instruct: bool, math: bool = False) -> Recipe:
    """Qwen2.5. Its base models have a chat template too, but end at <|endoftext|>."""
    tokenizer = tokenizers.qwen()
    text_end, turn_end = tokenizer.token_to_id("<|endoftext|>"), tokenizer.token_to_id("<|im_end|>")
    end = "<|im_end|>" if instruct else "<|endoftext|>"
    generation = {
        "bos_token_id": text_end,
        "do_sample": False,
        "eos_token_id": text_end,
        "max_new_tokens": 2048,
    }
    if instruct:
        generation = {
            "bos_token_id": text_end,
            "pad_token_id": text_end,
            "do_sample": True,
            "eos_token_id": [turn_end, text_end],
            "repetition_penalty": 1.05 if math else 1.1,
            "temperature": 0.7,
            "top_p": 0.8,
            "top_k": 20,
        }
    model = Qwen2Config(
        **SIZES,
        vocab_size=tokenizer.get_vocab_size() + 41,  # the hub's matrices have spare rows, too
        max_position_embeddings=4096 if math else 32768,
        rope_theta=10000.0 if math else 1e6,
        tie_word_embeddings=not (math and instruct),
        bos_token_id=text_end,
        eos_token_id=tokenizer.token_to_id(end),
    )
    config = {
        "additional_special_tokens": list(tokenizers.QWEN_CONTROLS[1:]),
        "bos_token": None,
        "eos_token": end,
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "Qwen2Tokenizer",
    }
    system = QWEN_MATH_SYSTEM if math else QWEN_SYSTEM if instruct else QWEN_BASE_SYSTEM
    template = _trl_template("qwen2_5").replace(QWEN_SYSTEM, system)
    return Recipe(tokenizer, config, template, model, generation, end, gpt2_files=True)


def llama(*, instruct: bool, template: str = "llama3_2", rope_factor: float = 32.0) -> Recipe:
    """Llama 3.1 and 3.2, with scaled rotary embeddings. The template of 3.2 asks for today's date."""
    tokenizer = tokenizers.llama()
    names = ("<|begin_of_text|>", "<|end_of_text|>", "<|eom_id|>", "<|eot_id|>")
    start, *ends = map(tokenizer.token_to_id, names)
    end_ids = ends if instruct else ends[0]
    end = "<|eot_id|>" if instruct else "<|end_of_text|>"
    model = LlamaConfig(
        **SIZES | {"rms_norm_eps": 1e-5},
        vocab_size=tokenizer.get_vocab_size(),
        head_dim=16,
        max_position_embeddings=131072,
        rope_theta=500000.0,
        rope_scaling={
            "factor": rope_factor,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
        tie_word_embeddings=True,
        bos_token_id=start,
        eos_token_id=end_ids,
    )
    config = {
        "bos_token": "<|begin_of_text|>",
        "clean_up_tokenization_spaces": True,
        "eos_token": end,
        "model_input_names": ["input_ids", "attention_mask"],
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    sampling = {"do_sample": True, "temperature": 0.6, "top_p": 0.9}
    generation = {"bos_token_id": start, "eos_token_id": end_ids, **sampling}
    return Recipe(tokenizer, config, _trl_template(template) if instruct else None, model, generation, end)


def gemma3(*, instruct: bool, hidden_size: int = 64) -> Recipe:
    """Gemma 3 for text, with sliding windows. No field of its configuration names a turn token."""
    tokenizer = tokenizers.gemma3()
    end_ids = [1, 106] if instruct else 1
    model = Gemma3TextConfig(
        vocab_size=tokenizer.get_vocab_size() - 1,  # <image_soft_token> has no row, as on the hub
        hidden_size=hidden_size,
        intermediate_size=hidden_size * 3,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=32,
        sliding_window=24,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        max_position_embeddings=32768,
        query_pre_attn_scalar=32,
        bos_token_id=2,
        eos_token_id=end_ids,
        pad_token_id=0,
    )
    config = {
        **GEMMA_TOKENS,
        "add_bos_token": True,
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
        "processor_class": "Gemma3Processor",
        "tokenizer_class": "GemmaTokenizer",
    }
    generation = {
        "bos_token_id": 2,
        "cache_implementation": "hybrid",
        "do_sample": True,
        "eos_token_id": end_ids,
        "pad_token_id": 0,
        "top_k": 64,
        "top_p": 0.95,
    }
    template = _trl_template("gemma3") if instruct else None
    return Recipe(tokenizer, config, template, model, generation, "<end_of_turn>" if instruct else "<eos>")


def gemma4() -> Recipe:
    """Gemma 4 E4B: multimodal, with per-layer embeddings, shared keys and values, and a soft-cap on its logits."""
    tokenizer = tokenizers.gemma4()
    config = {
        **GEMMA_TOKENS,
        "audio_token": "<|audio|>",
        "boa_token": "<|audio>",
        "boi_token": "<|image>",
        "eoa_token": "<audio|>",
        "eoi_token": "<image|>",
        "image_token": "<|image|>",
        "mask_token": "<mask>",
        "padding_side": "left",
        "processor_class": "Gemma4Processor",
        "tokenizer_class": "GemmaTokenizer",
        # named tokens count as special ones; Gemma 3 names no turn token
        "sot_token": "<|turn>",
        "eot_token": "<turn|>",
        "soc_token": "<|channel>",
        "eoc_token": "<channel|>",
        "think_token": "<|think|>",
        "escape_token": '<|"|>',
        "str_token": "<|tool_response>",
        "etr_token": "<tool_response|>",
        "stc_token": "<|tool_call>",
        "etc_token": "<tool_call|>",
        "std_token": "<|tool>",
        "etd_token": "<tool|>",
        "extra_special_tokens": ["<|video|>"],
    }
    sampling = {"do_sample": True, "temperature": 1.0, "top_k": 64, "top_p": 0.95}
    generation = {"bos_token_id": 2, "eos_token_id": [1, 106, 50], "pad_token_id": 0, **sampling}
    model = _gemma4_config(tokenizer)
    template = _trl_template("gemma4_v5")
    return Recipe(tokenizer, config, template, model, generation, "<turn|>", template_file=True)


def _gemma4_config(tokenizer: Tokenizer) -> Gemma4Config:
    size, token_id = tokenizer.get_vocab_size(), tokenizer.token_to_id
    text = {
        **SIZES,
        "vocab_size": size,
        "intermediate_size": 128,
        "num_hidden_layers": 6,
        "head_dim": 16,
        "global_head_dim": 32,
        "sliding_window": 24,
        "max_position_embeddings": 131072,
        "layer_types": ["sliding_attention", "full_attention"] * 3,
        "num_kv_shared_layers": 2,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": size,
        "final_logit_softcapping": 30.0,
    }
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {
        **small,
        "intermediate_size": 64,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "position_embedding_size": 64,
        "pooling_kernel_size": 3,
        "patch_size": 16,
    }
    return Gemma4Config(
        text_config=text,
        vision_config=vision,
        audio_config={**small, "subsampling_conv_channels": [8, 4], "output_proj_dims": 32},
        image_token_id=token_id("<|image|>"),
        audio_token_id=token_id("<|audio|>"),
        boi_token_id=token_id("<|image>"),
        eoi_token_id=token_id("<image|>"),
        boa_token_id=token_id("<|audio>"),
        eoa_token_index=token_id("<audio|>"),
        video_token_id=token_id("<|video|>"),
    )


def olmo(*, template: bool) -> Recipe:
    """OLMo 2. Its <|endoftext|> both begins a text and ends a turn."""
    tokenizer = tokenizers.olmo()
    end, pad = tokenizer.token_to_id("<|endoftext|>"), tokenizer.token_to_id("<|pad|>")
    model = Olmo2Config(
        **SIZES | {"num_key_value_heads": 4},
        vocab_size=tokenizer.get_vocab_size() + 74,
        max_position_embeddings=4096,
        rope_theta=500000,
        tie_word_embeddings=False,
        pad_token_id=pad,
        bos_token_id=None,
        eos_token_id=end,
    )
    config = {
        "bos_token": "<|endoftext|>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|pad|>",
        "tokenizer_class": "GPT2Tokenizer",
        "unk_token": "<|endoftext|>",
    }
    generation = {"eos_token_id": end, "pad_token_id": pad}
    chat = OLMO_TEMPLATE if template else None
    return Recipe(tokenizer, config, chat, model, generation, "<|endoftext|>", gpt2_files=True)


def _trl_template(name: str) -> str:
    """TRL's copy of a chat template of the hub."""
    return (files("trl") / "chat_templates" / f"{name}.jinja").read_text()
