"""Random models of many architectures with a context of 24 tokens, and what each computes for one row alone."""

from collections.abc import Callable, Sequence

import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

CONTEXT, SHORT = 24, 12
SIZES = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
WIDE = SIZES | {"intermediate_size": 32, "max_position_embeddings": CONTEXT}
GPT = {"vocab_size": 40, "n_positions": CONTEXT, "n_embd": 16, "n_layer": 2, "n_head": 2}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 100.0,
    "short_factor": [1.0, 1.5],
    "long_factor": [2.0, 8.0],
    "original_max_position_embeddings": SHORT,
}
CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    # tables of positions, attention masks or biases with as many entries as the context
    "gpt2": lambda: transformers.GPT2Config(**GPT),
    "ctrl": lambda: transformers.CTRLConfig(**GPT, dff=32),
    "opt": lambda: transformers.OPTConfig(
        **SIZES, ffn_dim=32, max_position_embeddings=CONTEXT, word_embed_proj_dim=16
    ),
    "gpt_neo": lambda: transformers.GPTNeoConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=32,
        num_layers=2,
        num_heads=2,
        attention_types=[[["global", "local"], 1]],
        window_size=6,
        max_position_embeddings=CONTEXT,
    ),
    "mpt": lambda: transformers.MptConfig(
        vocab_size=40, d_model=16, n_heads=2, n_layers=2, max_seq_len=CONTEXT
    ),
    "bart": lambda: transformers.BartConfig(
        vocab_size=40,
        d_model=16,
        decoder_layers=2,
        decoder_attention_heads=2,
        decoder_ffn_dim=32,
        max_position_embeddings=CONTEXT,
        is_encoder_decoder=False,
    ),
    # frequencies that the longest row of a pass decides
    "phi3": lambda: transformers.Phi3Config(
        **WIDE | {"hidden_size": 8},
        num_key_value_heads=2,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=1,
        original_max_position_embeddings=SHORT,
        rope_parameters=LONGROPE,
    ),
    "dynamic": lambda: transformers.LlamaConfig(
        **WIDE, rope_parameters={"rope_type": "dynamic", "factor": 4.0, "rope_theta": 100.0}
    ),
    # windows, experts, no positions, recurrence
    "gemma3": lambda: transformers.Gemma3TextConfig(
        **WIDE,
        num_key_value_heads=1,
        head_dim=8,
        sliding_window=6,
        layer_types=["sliding_attention", "full_attention"],
    ),
    "qwen2_moe": lambda: transformers.Qwen2MoeConfig(
        **WIDE,
        num_key_value_heads=2,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
        num_experts=4,
        num_experts_per_tok=2,
    ),
    # no decoder apart from its head
    "llama4": lambda: transformers.Llama4TextConfig(
        **WIDE,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size_mlp=32,
        num_local_experts=2,
        attention_chunk_size=CONTEXT,
    ),
    "bloom": lambda: transformers.BloomConfig(vocab_size=40, hidden_size=16, n_layer=2, n_head=2),
    # states instead of keys and values
    "rwkv": lambda: transformers.RwkvConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, attention_hidden_size=16
    ),
    "mamba": lambda: transformers.MambaConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, state_size=4
    ),
    "recurrent_gemma": lambda: transformers.RecurrentGemmaConfig(
        **WIDE | {"num_hidden_layers": 3},
        lru_width=16,
        attention_window_size=8,
        logits_soft_cap=1e4,  # none in effect, since TRL's head does not know this one
        head_dim=8,
        num_key_value_heads=1,
    ),
}


def random_model(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[name]()).eval()
    for weight in model.parameters():
        if weight.ndim == 2:
            weight.data.mul_(5)  # so that positions and context matter
    return model


@torch.no_grad()
def alone(model: PreTrainedModel, prompt: Sequence[int], response: Sequence[int]) -> list[float]:
    """Log-likelihood of each response token, in nats."""
    logits = model(input_ids=torch.tensor([[*prompt, *response]]), use_cache=False).logits[0].log_softmax(-1)
    return [float(logits[len(prompt) + t - 1, token]) for t, token in enumerate(response)]


@torch.no_grad()
def greedy(model: PreTrainedModel, prompt: Sequence[int], count: int) -> list[int]:
    """The `count` most likely tokens, each from a pass over all before it."""
    row = list(prompt)
    for _ in range(count):
        row.append(int(model(input_ids=torch.tensor([row]), use_cache=False).logits[0, -1].argmax()))
    return row[len(prompt) :]
