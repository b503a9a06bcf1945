"""Memory and time of cells at laptop scale, by hand; nothing is loaded or run."""

from types import SimpleNamespace

import pytest

from cme import Unavailable
from cme.runtime import space
from experiments.config import composition
from experiments.config.runs import Run
from experiments.plan import resources
from experiments.plan.memory import SIZES, estimate_memory

CELLS = [
    ["family=gemma", "regime=pretrained"],
    ["family=gemma", "regime=sft"],
    ["family=smollm2", "regime=instruct"],
    ["family=qwen", "regime=instruct"],
]
SMOLLM2, QWEN_15 = 134_515_008, 1_777_088_000


def laptop(*overrides: str) -> Run:
    [run] = composition.compose_cells(["scale=laptop", *overrides])
    return run


def free(monkeypatch: pytest.MonkeyPatch, gigabytes: float) -> None:
    monkeypatch.setattr(space.psutil, "virtual_memory", lambda: SimpleNamespace(available=gigabytes * 1e9))


def test_time_by_hand(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """10 steps of 8 completions of 32 tokens; 300 responses each of start, policy and verifier, of 128 tokens."""
    run = laptop(
        *CELLS[2],
        "scoring.dtype=bfloat16",
        "trainer.max_steps=10",
        "trainer.per_device_train_batch_size=8",
        "trainer.max_completion_length=32",
    )
    free(monkeypatch, 64)
    resources.announce([run, laptop(*CELLS[2], *run.overrides[3:], "reward=random")])
    own, other = capsys.readouterr().err.splitlines()
    policy = (80 * 32 + 600 * 128) * 2 * SMOLLM2 / 32e9 + 80 * (128 + 32) * 6 * SMOLLM2 / 150e9
    verifier = 300 * 128 * 2 * QWEN_15 / 50e9 + (10 * 128 + 80 * 32) * 2 * QWEN_15 / 410e9
    assert own.startswith(f"{run.run_id}: about ")
    assert own.endswith(f" and {(policy + verifier) / 60:.0f} min on two cores")
    shared = 300 * 128 * 2 * SMOLLM2 / 32e9  # the responses of the untrained model
    assert other.endswith(f" and {(policy - shared) / 60:.0f} min on two cores")


@pytest.mark.parametrize("cell", CELLS, ids=" ".join)
def test_24_gb_are_enough_for_every_cell(cell: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 24)
    resources.announce([laptop(*cell)])


def test_too_little_memory_is_one_sentence_with_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    run = laptop(*CELLS[3], "scoring.dtype=bfloat16")
    free(monkeypatch, 4)
    with pytest.raises(Unavailable) as caught:
        resources.announce([run])
    said = str(caught.value)
    assert said.startswith(f"{run.run_id} needs about ") and "4.0 GB are free" in said and "\n" not in said
    remedies = said.split(" or add ")[1].split(" or ")
    assert remedies == ["verifier=qwen_coder_0_5b", "adapter=lora"]
    sizes = [_memory(laptop(*run.overrides, remedy)) for remedy in remedies]
    assert all(size < _memory(run) for size in sizes)


def _memory(run: Run) -> float:
    memory = estimate_memory(run, 128, 32)
    assert memory is not None
    return memory


def test_the_verifiers_weights_are_counted_in_their_dtype() -> None:
    narrow, wide = (_memory(laptop(*CELLS[2], f"scoring.dtype={d}")) for d in ("bfloat16", "float32"))
    heldout = SIZES["package:gemma-3-270m"].parameters
    assert (wide - narrow) * 2**30 == pytest.approx(2 * (QWEN_15 + heldout))


def test_other_scales_are_not_announced(capsys: pytest.CaptureFixture[str]) -> None:
    resources.announce(composition.compose_cells([]))
    assert capsys.readouterr().err == ""
