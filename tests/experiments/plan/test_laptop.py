"""Memory and time of cells at laptop scale, by hand; nothing is loaded or run."""

from types import SimpleNamespace

import pytest
from composed_runs import compose

from cme import Unavailable
from cme.runtime import space
from experiments.config.runs import Run
from experiments.plan import estimate, plan

CELLS = [
    ["family=gemma", "regime=pretrained"],
    ["family=gemma", "regime=sft"],
    ["family=smollm2", "regime=instruct"],
    ["family=qwen", "regime=instruct"],
]
SMOLLM2, QWEN_15 = 134_515_008, 1_777_088_000


def laptop(*overrides: str) -> Run:
    return compose("scale=laptop", *overrides)


def free(monkeypatch: pytest.MonkeyPatch, gigabytes: float) -> None:
    monkeypatch.setattr(space.psutil, "virtual_memory", lambda: SimpleNamespace(available=gigabytes * 1e9))


def test_time_by_hand(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """10 steps of 8 completions of 32 tokens; 300 responses each of start, policy and verifier, of 128 tokens.

    A prompt has 64 tokens, a quarter of the longest. The policy trains in bfloat16 and answers in float32.
    """
    run = laptop(
        *CELLS[2],
        "scoring.dtype=bfloat16",
        "trainer.max_steps=10",
        "trainer.per_device_train_batch_size=8",
        "trainer.max_completion_length=32",
        "evaluation.verifier_responses=true",
    )
    free(monkeypatch, 64)
    plan.announce([run, laptop(*CELLS[2], *run.overrides[3:], "reward=random")])
    own, other = capsys.readouterr().err.splitlines()
    training = 80 * 32 * 2 * SMOLLM2 / 31e9 + 80 * (64 + 32) * 6 * SMOLLM2 / 200e9
    policy = training + 600 * 128 * 2 * SMOLLM2 / 32e9
    verifier = 300 * 128 * 2 * QWEN_15 / 50e9 + (10 * 64 + 80 * 32) * 2 * QWEN_15 / 570e9
    assert own.startswith(f"{run.run_id}: about ")
    assert own.endswith(f" and {(policy + verifier) / 60:.0f} min on two cores")
    shared = 300 * 128 * 2 * SMOLLM2 / 32e9  # the responses of the untrained model
    assert other.endswith(f" and {(policy - shared) / 60:.0f} min on two cores")


def test_24_gb_are_enough_for_every_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 24)
    plan.announce([laptop(*cell) for cell in CELLS])


def test_too_little_memory_is_one_sentence_with_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    run = laptop(*CELLS[3], "scoring.dtype=bfloat16")
    free(monkeypatch, 4)
    with pytest.raises(Unavailable) as caught:
        plan.announce([run])
    said = str(caught.value)
    assert said.startswith(f"{run.run_id} needs about ") and "4.0 GB are free" in said and "\n" not in said
    remedies = said.split(" or add ")[1].split(" or ")
    assert remedies == ["verifier=qwen_coder_0_5b", "adapter=lora"]
    sizes = [_memory(laptop(*run.overrides, remedy)) for remedy in remedies]
    assert all(size < _memory(run) for size in sizes)


def _memory(run: Run) -> float:
    memory = estimate.memory(run)
    assert memory is not None
    return memory


def test_a_measured_step_takes_as_long_as_estimated() -> None:
    """docs/performance.md: 16 completions of 64 tokens by SmolLM2 in 8.8, 7.0 and 8.1 s."""
    run = laptop(*CELLS[2], "trainer.max_steps=6")
    _, expected = estimate.bounds(run)
    parts = [t for t in estimate.count_tokens(run, expected) if t.shared_by.startswith("training")]
    measured = {"generated": 8.8, "scored": 7.0, "trained on": 8.1}
    assert {t.kind: plan._seconds(run, t) / 6 for t in parts} == pytest.approx(measured, rel=0.05)


def test_memory_of_a_cell_by_hand() -> None:
    """Gemma-3-270M: weights, untrained model, gradients and two moments in float32, and the copy that samples."""
    run = laptop(*CELLS[0])
    assert (run.generator, run.trainer.bf16) == ("package:gemma-3-270m", True)
    parameters = 268_098_176
    verifiers = 2 * (QWEN_15 + SMOLLM2)  # and the held-out one, in bfloat16
    # 16 rows of 256 + 64 tokens: the inputs of 18 layers, 34 bytes per unit within one layer, and logits
    batch = 16 * 320 * 640 * (4 * 18 + 34) + 8 * 16 * 64 * 262_144
    assert _memory(run) == pytest.approx((5 * 4 + 2) * parameters + verifiers + batch)
    assert _memory(run) - _memory(laptop(*CELLS[0], "trainer.bf16=false")) == pytest.approx(2 * parameters)
    assert _memory(laptop(*CELLS[0], "scoring.dtype=float32")) - _memory(run) == pytest.approx(verifiers)


def test_a_comparator_of_unknown_size_takes_no_time_and_other_scales_are_not_announced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    free(monkeypatch, 64)
    plan.announce([laptop(), laptop("+evaluation.comparators.mine=elsewhere"), compose()])
    alone, compared = capsys.readouterr().err.splitlines()
    assert alone.split("about")[1].split("and")[0] == compared.split("about")[1].split("and")[0]
