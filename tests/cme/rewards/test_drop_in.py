"""The reward by itself in a plain TRL script."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from cme.rewards import CrossModelEntropy

Folder = Callable[..., Path]
TEXTS = ["what is 3 plus 4?", "name two animals.", "what color is the fox?", "is the bear large?"]


@pytest.mark.parametrize("chatty", [True, False])
@pytest.mark.parametrize("settings", [{}, {"pmi": True}])
def test_reward_in_a_trl_script(
    tiny_folder: Folder, tmp_path: Path, chatty: bool, settings: dict[str, Any]
) -> None:
    prompts: list[Any] = [[{"role": "user", "content": t}] for t in TEXTS] if chatty else TEXTS
    trainer = GRPOTrainer(
        model=str(tiny_folder("qwen")),
        reward_funcs=CrossModelEntropy(str(tiny_folder("llama")), **settings),
        args=GRPOConfig(
            output_dir=str(tmp_path),
            max_steps=2,
            per_device_train_batch_size=4,
            num_generations=4,
            max_completion_length=8,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list([{"prompt": p} for p in prompts]),
    )
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert len(logs) == 2
    for entry in logs:
        assert math.isfinite(entry["rewards/cme/mean"]) and entry["rewards/cme/mean"] == entry["reward"]
        assert entry["reward"] < 0 or "pmi" in settings
        assert entry["rewards/cme/std"] > 0 and entry["response_truncated"] == 0
        assert math.isfinite(entry["loss"]) and entry["grad_norm"] > 0
