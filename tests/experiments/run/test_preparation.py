"""What is said before the first run starts."""

import pytest
import torch
from small_runs import Cell, composed

from experiments.run import preparation


@pytest.mark.parametrize(
    ("instructions", "overrides", "remedies"),
    [
        ({"avx512_bf16": True}, ["scoring.dtype=bfloat16", "trainer.bf16=true"], None),
        ({"bf16": True}, ["scoring.dtype=bfloat16"], None),
        ({"avx512_bf16": False, "avx2": True}, ["scoring.dtype=bfloat16"], "scoring.dtype=float32"),
        ({}, ["trainer.bf16=true"], "trainer.bf16=false"),
        ({}, ["scoring.dtype=bfloat16", "trainer.bf16=true"], "scoring.dtype=float32 trainer.bf16=false"),
        ({}, [], None),
    ],
)
def test_bfloat16_that_the_cpu_emulates_is_warned_of(
    cell: Cell,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    instructions: dict[str, bool],
    overrides: list[str],
    remedies: str | None,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    preparation.prepare([composed(cell("tracker=none", *overrides))])
    said = capsys.readouterr().err
    assert ("bfloat16" in said) == (remedies is not None)
    assert remedies is None or said.endswith(f"add {remedies}\n")
