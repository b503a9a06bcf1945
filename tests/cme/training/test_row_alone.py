"""What a trainer computes for a row is what the model gives it alone, whatever the padding and the other rows."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import SHORT, alone, greedy, random_model
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer
from verifiers import Tiny

from cme.models.architecture import padding_shifts_positions
from cme.training.history import StepClock
from cme.training.trl_internals import PromptTrainer, refuse_switch


def trainer_of(name: str, tiny: Tiny, folder: Path, **settings: Any) -> PromptTrainer:
    """A trainer whose model has 40 tokens; nothing here is tokenized."""
    config = GRPOConfig(
        str(folder),
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=6,
        report_to=[],
        use_cpu=True,
        bf16=False,
        **settings,
    )
    return PromptTrainer(
        StepClock(),
        model=random_model(name),
        processing_class=tiny("qwen").tokenizer,
        reward_funcs=[lambda **_: None],
        args=config,
        train_dataset=Dataset.from_list([{"prompt": "a"}] * 4),
    )


def padded(rows: list[tuple[list[int], list[int]]]) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Ids and mask (B, T) as TRL makes them, prompts padded on the left, and the width of the completions."""
    left, right = max(len(p) for p, _ in rows), max(len(r) for _, r in rows)
    ids = [[0] * (left - len(p)) + p + r + [0] * (right - len(r)) for p, r in rows]
    mask = [[0] * (left - len(p)) + [1] * len(p + r) + [0] * (right - len(r)) for p, r in rows]
    return torch.tensor(ids), torch.tensor(mask), right


@pytest.mark.parametrize(
    ("name", "own"),
    [
        *((name, True) for name in ("gpt2", "bart", "phi3")),
        *((name, False) for name in ("gpt2", "opt", "gpt_neo", "ctrl", "bart", "phi3", "gemma3", "mamba")),
        *((name, False) for name in ("dynamic", "recurrent_gemma")),
    ],
)
def test_log_probabilities_are_those_of_the_row_alone(
    name: str, own: bool, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that fit the context of 24 tokens, in a batch whose padding does not fit it, by both computations."""
    trainer, rng = trainer_of(name, tiny, tmp_path), random.Random(0)
    if not own:
        monkeypatch.setattr(trainer.args, "gradient_checkpointing", True)  # which shares no prompts
    lengths = [(1, 8), (3, 3), (9, 2), (9, 5), (20, 4), (4, 20)]
    rows = [
        ([rng.randrange(3, 40) for _ in range(p)], [rng.randrange(3, 40) for _ in range(r)])
        for p, r in lengths
    ]
    log_probs, entropies, _ = trainer._get_per_token_logps_and_entropies(
        trainer.model, *padded(rows), compute_entropy=True
    )
    assert log_probs.shape == entropies.shape == (6, 20)
    for (prompt, response), found, entropy in zip(rows, log_probs, entropies, strict=True):
        count = len(response)
        assert found[:count].tolist() == pytest.approx(alone(trainer.model, prompt, response), abs=2e-3)
        logits = trainer.model(input_ids=torch.tensor([prompt + response]), use_cache=False).logits[0]
        p = logits[len(prompt) - 1 : -1].softmax(-1)
        assert entropy[:count].tolist() == pytest.approx((-(p * p.log()).nansum(-1)).tolist(), abs=2e-3)
        if padding_shifts_positions(trainer.model):  # TRL's own values behind a completion are masked later
            assert not found[count:].any() and not entropy[count:].any()


@pytest.mark.parametrize("name", ["gpt2", "bart", "phi3", "mamba"])
def test_completions_by_trl_do_not_depend_on_the_other_prompts(name: str, tiny: Tiny, tmp_path: Path) -> None:
    trainer, rng = trainer_of(name, tiny, tmp_path, top_k=1), random.Random(0)
    prompts = [[rng.randrange(3, 40) for _ in range(n)] for n in (1, 9, SHORT, 9, 18, SHORT + 1)]
    trainer.eos_token_ids = [40]
    trainer.generation_config.eos_token_id = [40]
    trainer.model.generation_config.forced_eos_token_id = None  # BART's
    found, _ = trainer._generate_single_turn(prompts, None, {}, 4)
    assert found == [greedy(trainer.model, p, 6) for p in prompts]


def test_a_model_with_rotary_positions_is_left_to_trl(tiny: Tiny, tmp_path: Path) -> None:
    """On a GPU, where no prompts are shared, such a model trains as in TRL, with the logits of completions alone."""
    trainer = trainer_of("gemma3", tiny, tmp_path)
    trainer.args.gradient_checkpointing = True  # which shares no prompts on a CPU either
    ids, mask, width = padded([([5, 6], [7, 8, 9]), ([5, 6, 10, 11], [12])])
    found, *_ = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, width)
    by_trl, *_ = GRPOTrainer._get_per_token_logps_and_entropies(trainer, trainer.model, ids, mask, width)
    assert found.equal(by_trl)


def test_several_processes_refuse_rows_that_may_switch_factors(tiny: Tiny, tmp_path: Path) -> None:
    trainer = trainer_of("phi3", tiny, tmp_path)
    trainer.accelerator = type("Two", (), {"num_processes": 2})()
    trainer.max_completion_length = SHORT
    with pytest.raises(
        ValueError, match=rf"beyond {SHORT} this model computes with other factors \(longrope\)"
    ):
        refuse_switch(trainer)
