"""How often the guard ends a healthy training of the paper's size, by simulation."""

import numpy as np
import pytest
from small_runs import composed
from transformers import TrainerControl, TrainerState

from cme.training.collapse import CollapseCallback, CollapseGuard

TRAININGS, STEPS = 1000, 5000
HEALTHY = {"reward": 1.0, "unscored": 0.0, "grad_norm": 1.0}


def longest_runs(bad: np.ndarray) -> np.ndarray:
    """The longest run of bad steps in each training (trainings, steps)."""
    steps = np.arange(bad.shape[1])
    last_good = np.maximum.accumulate(np.where(bad, -1, steps), axis=1)
    return (steps - last_good).max(axis=1)  # type: ignore[no-any-return]


def simulate(groups_per_step: int, share: float, unit: int = 1) -> np.ndarray:
    """Whether a step is bad: all its groups are, independently, with probability `share` to the power of `unit`."""
    chance = share ** (unit * groups_per_step)
    return np.random.default_rng(0).random((TRAININGS, STEPS)) < chance


@pytest.mark.parametrize(
    ("metric", "share", "unit"),
    [
        ("frac_reward_zero_std", 0.7, 1),
        ("completions/clipped_ratio", 0.9, 8),  # of completions, eight in a group
    ],
)
@pytest.mark.parametrize("groups_per_step", [1, 4])
def test_healthy_trainings_of_the_papers_size_run_to_their_end(
    groups_per_step: int, metric: str, share: float, unit: int
) -> None:
    guard = CollapseGuard(**composed(["scale=paper", "family=llama", "regime=instruct"]).values["guard"])
    bad = simulate(groups_per_step, share, unit)
    longest = longest_runs(bad)
    assert (longest >= guard.steps(groups_per_step)).mean() < 0.01
    callback = CollapseCallback(guard, groups_per_step)
    for step, is_bad in enumerate(bad[longest.argmax()], start=1):
        state = TrainerState(global_step=step, max_steps=STEPS)
        callback.on_log(None, state, TrainerControl(), HEALTHY | {metric: float(is_bad)})
    assert callback.stopped is None


@pytest.mark.parametrize(
    ("overrides", "groups_per_step", "steps"),
    [
        ((), 8, 10),  # as before groups counted
        (("scale=laptop",), 2, 40),
        (("scale=paper", "family=llama", "regime=instruct"), 1, 80),
        (("scale=paper", "family=gemma", "regime=pretrained"), 4, 20),
    ],
)
def test_steps_at_each_scale(overrides: tuple[str, ...], groups_per_step: int, steps: int) -> None:
    run = composed([*overrides])
    trainer = run.trainer
    completions = trainer.per_device_train_batch_size * trainer.gradient_accumulation_steps
    assert completions == groups_per_step * trainer.num_generations
    assert CollapseGuard(**run.values["guard"]).steps(groups_per_step) == steps
