"""LoRA: only adapters train, the monitors are right, and the saved policy has the adapters merged."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from naive import score_ids
from trainings import PROMPTS, rows_of, run_grpo
from transformers import TrainerCallback
from trl import GRPOTrainer
from verifiers import Tiny

from cme.checkpoints import Checkpoint, load
from cme.models.generation import generate_ids
from cme.records import Generation, Preference
from cme.training import dpo_sft
from cme.training.history import TrainingResult
from cme.training.job import TrainingJob, checkpoint_folder
from cme.training.monitors import Monitors

LORA = {"r": 4, "lora_alpha": 32, "lora_dropout": 0.0, "target_modules": "all-linear"}
SETTINGS = {"max_steps": 2, "learning_rate": 0.1, "lr_scheduler_type": "constant", "beta": 0.1}


def even(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float | None]:
    """The share of even tokens, which differs between random weights."""
    return [sum(token % 2 == 0 for token in ids) / len(ids) for ids in completion_ids]


class Look(TrainerCallback):  # type: ignore[misc]
    """The policy at the end of training: its weights and its greedy responses."""

    def __init__(self) -> None:
        self.answers: list[list[int]] = []
        self.trainable: list[str] = []
        self.frozen: dict[str, torch.Tensor] = {}

    def on_train_end(self, *_: Any, model: Any = None, processing_class: Any = None, **__: Any) -> None:
        model.eval()
        self.answers = greedy(model, processing_class)
        for name, weight in model.named_parameters():
            if weight.requires_grad:
                self.trainable.append(name)
            else:
                self.frozen[name.removeprefix("base_model.model.").replace(".base_layer", "")] = (
                    weight.clone()
                )


def greedy(model: Any, tokenizer: Any) -> list[list[int]]:
    return generate_ids(model, tokenizer, [p.text for p in PROMPTS], max_new_tokens=8, batch_size=12)


def grpo(start: Checkpoint, beside: Checkpoint, folder: Path, look: Look) -> TrainingResult:
    job = TrainingJob(0, folder, 1, LORA, callbacks=[look], quiet=True)
    return run_grpo(start, beside, even, job, **SETTINGS)


@pytest.mark.parametrize("name", ["qwen", "gemma"])
def test_only_adapters_train_and_the_merged_policy_responds_alike(
    tiny: Tiny, tmp_path: Path, name: str
) -> None:
    look = Look()
    result = grpo(tiny(name), tiny(name), tmp_path, look)
    assert look.trainable and all("lora_" in weight for weight in look.trainable)
    start = dict(tiny(name).model.named_parameters())
    assert look.frozen.keys() == start.keys()
    assert all(torch.equal(weight, start[key]) for key, weight in look.frozen.items()), (
        "saving changed a weight"
    )
    saved = load(str(tmp_path))
    assert type(saved.model) is type(tiny(name).model) and not (tmp_path / "adapter_config.json").exists()
    assert greedy(saved.model, saved.tokenizer) == look.answers != greedy(tiny(name).model, saved.tokenizer)
    moved = [k for k, w in saved.model.named_parameters() if not torch.equal(w, start[k])]
    assert moved and not any("embed" in key or "norm" in key for key in moved)
    assert (checkpoint_folder(tmp_path, 1) / "model.safetensors").exists()
    assert result.history["kl"][0] == pytest.approx(0.0, abs=1e-4), "adapters start at zero"


def test_penalty_and_monitor_measure_from_the_untrained_model(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The KL of the second step, computed from the policy saved after the first."""
    batches: list[dict[str, Any]] = []
    score = GRPOTrainer._generate_and_score_completions

    def kept(self: GRPOTrainer, inputs: Any) -> Any:
        batches.append(score(self, inputs))
        return batches[-1]

    monkeypatch.setattr(GRPOTrainer, "_generate_and_score_completions", kept)
    result = grpo(tiny("qwen"), tiny("qwen"), tmp_path, Look())
    after = load(str(checkpoint_folder(tmp_path, 1)))
    batch = batches[1]

    rows = list(zip(rows_of(batch, "prompt"), rows_of(batch, "completion"), strict=True))
    ours, theirs = ([score_ids(c.model, *row) for row in rows] for c in (after, tiny("qwen")))
    expected = sum(a.total - b.total for a, b in zip(ours, theirs, strict=True)) / len(rows)
    assert result.history["kl"][1] == pytest.approx(expected, rel=1e-3, abs=1e-4) and abs(expected) > 0.01
    for reference, one in zip(batch["ref_per_token_logps"].tolist(), theirs, strict=True):
        assert reference[: len(one.values)] == pytest.approx(one.values, abs=1e-4), "that of the penalty"


def test_dpo_and_sft_train_adapters_too(tiny: Tiny, tmp_path: Path) -> None:
    watch = dpo_sft.SampledMonitoring(Monitors(tiny("qwen"), None, None, 1), PROMPTS, 2, 4)
    settings = {"max_steps": 1, "per_device_train_batch_size": 4, "learning_rate": 1e-2, "max_length": 64}
    more = {"warmup_steps": 0, "lr_scheduler_type": "constant"}
    pairs = [Preference(p, "the fox", "a dog") for p in PROMPTS]
    for method in ("dpo", "sft"):
        look, folder = Look(), tmp_path / method
        job = TrainingJob(0, folder, lora=LORA, callbacks=[look], quiet=True)
        if method == "dpo":
            dpo_sft.train_dpo(tiny("qwen"), tiny("qwen"), pairs, watch, settings | more | {"beta": 0.1}, job)
        else:
            responses = [Generation("the fox", True, 3)] * 12
            dpo_sft.train_sft(tiny("qwen"), PROMPTS, responses, watch, settings | more, job)
        assert look.trainable and all("lora_" in weight for weight in look.trainable)
        assert greedy(load(str(folder)).model, tiny("qwen").tokenizer) == look.answers
