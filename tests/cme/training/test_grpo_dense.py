"""Our own advantages: they follow their rows, and the gradient of a step is as computed independently."""

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from naive import standardize
from trainings import rows_of, run_grpo
from verifiers import Tiny

from cme.checkpoints import Checkpoint
from cme.rewards import Reward
from cme.rewards.base import Normalize
from cme.rewards.checked_reward import CheckedReward
from cme.training import advantages, grpo
from cme.training.job import TrainingJob
from cme.training.trl_internals import AdvantageTrainer

NAN = math.nan
GROUP = 4
ONE_STEP = {
    "max_steps": 1,
    "learning_rate": 1e-3,
    "lr_scheduler_type": "constant",
    "optim": "sgd",
    "max_grad_norm": 0.0,  # the gradient as it is
}


def value_of(token: int, t: int) -> float:
    """The value of a token at its position: not constant, and NaN for some tokens."""
    return NAN if token % 5 == 0 else (token * 7 + t * 3) % 11 / 4


class Fake(Reward):
    """A reward with a value for each sampled token."""

    __name__ = "fake"
    granularity = "token"

    def __init__(self, normalize: Normalize = "position", std_floor: float = 0.0) -> None:
        self.normalize, self.std_floor = normalize, std_floor
        self.trainer: Any = None

    def __call__(self, *_: Any, completion_ids: Sequence[Sequence[int]], **__: Any) -> list[float | None]:
        rows = [[value_of(token, t) for t, token in enumerate(ids)] for ids in completion_ids]
        self.token_values = [torch.tensor(row) for row in rows]
        return [float(len(ids)) for ids in completion_ids]

    def bind(self, trainer: Any) -> None:
        self.trainer = trainer


class Seen:
    """What passes through a trainer: scored batches, the rows of each pass, accumulated gradients."""

    def __init__(self) -> None:
        self.scored: list[dict[str, Any]] = []
        self.trained: list[dict[str, Any]] = []
        self.gradients: list[dict[str, torch.Tensor]] = []


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    kept = Seen()

    class Watched(AdvantageTrainer):
        def _generate_and_score_completions(self, inputs: Any) -> Any:
            kept.scored.append(super()._generate_and_score_completions(inputs))
            return dict(kept.scored[-1])

        def _compute_loss(self, model: Any, inputs: Any) -> Any:
            kept.trained.append(dict(inputs))
            return super()._compute_loss(model, inputs)

        def training_step(self, model: Any, *arguments: Any) -> Any:
            loss = super().training_step(model, *arguments)
            named = model.named_parameters()
            kept.gradients.append({n: p.grad.clone() for n, p in named if p.grad is not None})
            return loss

    monkeypatch.setattr(grpo, "AdvantageTrainer", Watched)
    return kept


@pytest.fixture
def stopping(tiny: Tiny) -> Tiny:
    """Tiny models that often end their turn, so that rows differ in length."""

    def make(family: str) -> Checkpoint:
        made = tiny(family)
        with torch.no_grad():  # tied to the head: its logit swings twenty times as far
            made.model.get_input_embeddings().weight[made.tokenizer.eos_token_id] *= 20
        return made

    return make


def run(policy: Checkpoint, start: Checkpoint, folder: Path, reward: Any, **settings: Any) -> None:
    run_grpo(policy, start, reward, TrainingJob(0, folder, quiet=True), **ONE_STEP | settings)


def by_hand(rows: list[list[int]], normalize: str, floor: float, scaled: bool) -> list[list[float]]:
    """Each token's advantage, from the ids alone."""
    values = [[value_of(token, t) for t, token in enumerate(ids)] for ids in rows]
    expected = []
    for i, row in enumerate(values):
        group = values[i - i % GROUP : i - i % GROUP + GROUP]
        advantages = []
        for t, value in enumerate(row):
            compared = [v for other in group for v in other]
            if normalize == "position":
                compared = [other[t] for other in group if t < len(other)]
            advantages.append(standardize(compared, value, floor, scaled))
        expected.append(advantages)
    return expected


CASES = [
    ("position", 0.0, "group", 1),
    ("position", 0.0, "group", 2),
    ("sequence", 0.0, "group", 2),
    ("position", 0.9, "group", 1),
    ("position", 0.0, "none", 1),
]


@pytest.mark.parametrize(("normalize", "floor", "scale", "steps"), CASES)
def test_advantages_follow_their_rows(
    stopping: Tiny, tmp_path: Path, seen: Seen, normalize: str, floor: float, scale: str, steps: int
) -> None:
    """TRL shuffles the scored rows and splits them into passes."""
    passes = {"per_device_train_batch_size": 8 // steps, "gradient_accumulation_steps": steps}
    run(stopping("llama"), stopping("llama"), tmp_path, Fake(normalize, floor), scale_rewards=scale, **passes)
    [scored] = seen.scored
    rows = rows_of(scored, "completion")
    expected = by_hand(rows, normalize, floor, scale == "group")
    assert len({tuple(r) for r in rows}) > 4 and len({len(r) for r in rows}) > 1
    of_row = {
        (tuple(p), tuple(r)): e for p, r, e in zip(rows_of(scored, "prompt"), rows, expected, strict=True)
    }
    assert len(seen.trained) == steps
    order: list[Any] = []
    for batch in seen.trained:
        width = batch["completion_ids"].shape[1]
        assert batch["advantages"].shape == (8 // steps, width)
        for prompt, row, found in zip(
            rows_of(batch, "prompt"), rows_of(batch, "completion"), batch["advantages"], strict=True
        ):
            order.append((tuple(prompt), tuple(row)))
            padding = [0.0] * (width - len(row))
            assert found.tolist() == pytest.approx(of_row[order[-1]] + padding, abs=1e-5)
    before = [(tuple(p), tuple(r)) for p, r in zip(rows_of(scored, "prompt"), rows, strict=True)]
    assert sorted(order) == sorted(before) and order != before, "the rows must have been shuffled"


def gradient_by_autograd(
    policy: Checkpoint, prompts: list[list[int]], rows: list[list[int]], advantages: list[list[float]]
) -> dict[str, torch.Tensor]:
    """The gradient of - sum(advantage * log p) / tokens, one row at a time without padding, in float64."""
    model = policy.model.double()
    loss = torch.zeros((), dtype=torch.float64)
    for prompt, row, weights in zip(prompts, rows, advantages, strict=True):
        logits = model(input_ids=torch.tensor([prompt + row])).logits[0]
        log_p = logits[len(prompt) - 1 : -1].log_softmax(-1)
        for t, (token, weight) in enumerate(zip(row, weights, strict=True)):
            loss = loss - weight * log_p[t, token]
    (loss / sum(map(len, rows))).backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("family", "normalize", "steps"),
    [("qwen", "position", 1), ("llama", "sequence", 2), ("gemma", "position", 2), ("olmo", "sequence", 1)],
)
def test_the_gradient_is_as_computed_independently(
    stopping: Tiny, tmp_path: Path, seen: Seen, family: str, normalize: str, steps: int
) -> None:
    passes = {"per_device_train_batch_size": 8 // steps, "gradient_accumulation_steps": steps}
    run(stopping(family), stopping(family), tmp_path, Fake(normalize), **passes)
    rows = rows_of(seen.scored[0], "completion")
    advantages = by_hand(rows, normalize, 0.0, True)
    expected = gradient_by_autograd(stopping(family), rows_of(seen.scored[0], "prompt"), rows, advantages)
    found = seen.gradients[-1]
    assert found.keys() == expected.keys()
    largest = max(float(g.abs().max()) for g in expected.values())
    assert largest > 1e-3
    for name, gradient in expected.items():
        assert torch.allclose(found[name].double(), gradient, rtol=1e-3, atol=1e-4 * largest), name


def test_a_floor_under_the_deviation_of_scalar_rewards(tiny: Tiny, tmp_path: Path, seen: Seen) -> None:
    given: list[float | None] = [1.0, 2.0, None, 6.0, 0.1, 0.2, 0.3, 0.2]

    class Floored(Fake):
        granularity = "sequence"

        def __call__(self, *_: Any, **__: Any) -> list[float | None]:
            return given

    run(tiny("qwen"), tiny("qwen"), tmp_path, Floored(std_floor=0.5))
    spread = math.sqrt(7) + 1e-4  # of 1, 2, 6: above the floor; the second group's is 0.08
    expected = [-2 / spread, -1 / spread, 0, 3 / spread, *(d / 0.5001 for d in (-0.1, 0.0, 0.1, 0.0))]
    assert seen.scored[0]["advantages"].tolist() == pytest.approx(expected, abs=1e-6)


def test_one_scale_for_the_whole_batch_is_refused(tiny: Tiny, tmp_path: Path, seen: Seen) -> None:
    with pytest.raises(ValueError, match="scale_rewards=batch"):
        run(tiny("qwen"), tiny("qwen"), tmp_path, Fake(), scale_rewards="batch")


def test_completions_of_another_process_may_be_longer(tiny: Tiny, tmp_path: Path) -> None:
    """Two processes hold half a group each; the completions of the other one are two tokens longer."""
    mine, theirs = (
        torch.tensor([[1.0, 2.0], [3.0, 5.0]]),
        torch.tensor([[2.0, 2.0, 9.0, 1.0], [0.0, 1.0, 7.0, 3.0]]),
    )

    class Two:
        device, process_index = torch.device("cpu"), 0

        def pad_across_processes(self, rows: torch.Tensor, dim: int, pad_index: float) -> torch.Tensor:
            return torch.nn.functional.pad(rows, (0, 2), value=pad_index)

        def gather(self, rows: torch.Tensor) -> torch.Tensor:
            return torch.cat([rows, theirs])

    reward = Fake()
    reward.token_values = list(mine)
    trainer = object.__new__(AdvantageTrainer)
    trainer.checked = CheckedReward(reward)
    trainer.accelerator, trainer.num_generations = Two(), 4
    trainer.args = SimpleNamespace(scale_rewards="group")
    batch = {"completion_mask": torch.ones(2, 2), "advantages": torch.zeros(2)}
    found = trainer._advantages(batch, 2)
    both = torch.cat([torch.nn.functional.pad(mine, (0, 2), value=float("nan")), theirs])
    assert found.shape == (2, 2)
    assert torch.allclose(
        found, advantages.group_advantages(both, 4, "position", floor=0.0, scale=True)[:2, :2]
    )
