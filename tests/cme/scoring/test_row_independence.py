"""A row's values are those that the model gives it alone, whatever the other rows: in several architectures."""

import random
from collections.abc import Callable

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from cme import Unavailable
from cme.scoring.token_scorer import TokenScorer

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
    "gpt_bigcode": lambda: transformers.GPTBigCodeConfig(**GPT),
    "gptj": lambda: transformers.GPTJConfig(**GPT, rotary_dim=4),
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
    "biogpt": lambda: transformers.BioGptConfig(**WIDE),
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
    "mamba": lambda: transformers.MambaConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, state_size=4
    ),
}


def random_model(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[name]()).eval()
    for weight in model.parameters():
        if weight.ndim == 2:
            weight.data.mul_(5)  # so that positions and context matter
    return model


def random_rows(rng: random.Random) -> list[tuple[list[int], list[int]]]:
    """Twelve rows within the context, some of which fill it, on four prompts of any length."""

    def tokens(length: int) -> list[int]:
        return [rng.randrange(3, 40) for _ in range(length)]

    prompts = [tokens(rng.randrange(1, CONTEXT - 2)) for _ in range(4)]
    chosen = [rng.choice(prompts) for _ in range(12)]
    return [(prompt, tokens(rng.randrange(1, CONTEXT - len(prompt) + 1))) for prompt in chosen]


@torch.no_grad()
def alone(model: PreTrainedModel, prompt: list[int], response: list[int]) -> list[float]:
    logits = model(input_ids=torch.tensor([[*prompt, *response]]), use_cache=False).logits[0].log_softmax(-1)
    return [float(logits[len(prompt) + t - 1, token]) for t, token in enumerate(response)]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_row_has_one_value_in_any_batch(name: str) -> None:
    model = random_model(name)
    for seed in range(3):
        rows = random_rows(random.Random(seed))
        scorer = TokenScorer(model, batch_tokens=random.Random(seed).choice([60, 200, 4096]))
        scored = scorer.score(*zip(*rows, strict=True))
        for one, (prompt, response) in zip(scored, rows, strict=True):
            assert one.reason is None
            assert one.log_likelihoods.tolist() == pytest.approx(alone(model, prompt, response), abs=1e-3)


@pytest.mark.parametrize("is_decoder", [False, True])
def test_a_model_that_reads_the_following_tokens_is_refused(is_decoder: bool) -> None:
    torch.manual_seed(0)
    config = transformers.BertConfig(**WIDE, is_decoder=is_decoder, initializer_range=1.0)
    model = transformers.BertLMHeadModel(config).eval()
    if is_decoder:
        [scored] = TokenScorer(model).score([[5, 6, 7]], [[8, 9, 10]])
        assert scored.log_likelihoods.tolist() == pytest.approx(alone(model, [5, 6, 7], [8, 9, 10]), abs=1e-3)
    else:
        with pytest.raises(Unavailable, match="BertLMHeadModel is no causal language model"):
            TokenScorer(model).score([[5, 6, 7]], [[8, 9, 10]])


@pytest.mark.parametrize("name", ["gpt2", "opt", "gpt_neo", "phi3"])
def test_these_models_share_their_prompts(name: str) -> None:
    scorer = TokenScorer(random_model(name))
    scorer.score(*zip(*random_rows(random.Random(1)), strict=True))
    assert scorer.share
