"""A row's values are those that the model gives it alone, whatever the other rows: in several architectures."""

import random

import pytest
import torch
import transformers
from architectures import CONFIGS, CONTEXT, WIDE, alone, random_model

from cme import Unavailable
from cme.scoring.token_scorer import TokenScorer


def random_rows(rng: random.Random) -> list[tuple[list[int], list[int]]]:
    """Twelve rows within the context, some of which fill it, on four prompts of any length."""

    def tokens(length: int) -> list[int]:
        return [rng.randrange(3, 40) for _ in range(length)]

    prompts = [tokens(rng.randrange(1, CONTEXT - 2)) for _ in range(4)]
    chosen = [rng.choice(prompts) for _ in range(12)]
    return [(prompt, tokens(rng.randrange(1, CONTEXT - len(prompt) + 1))) for prompt in chosen]


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
