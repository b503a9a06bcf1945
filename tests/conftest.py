"""Random-weight models of the four families: tiny, untrained, and loaded as any other checkpoint is."""

import gc
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from filelock import FileLock
from hydra.core.config_store import ConfigStore
from hypothesis import settings

if TYPE_CHECKING:
    from cme.checkpoints import Checkpoint

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["TOKENIZERS_PARALLELISM"] = "false"

settings.register_profile("light", max_examples=50, deadline=None, derandomize=True)
settings.load_profile("light")

gc.set_threshold(
    50_000, 20, 20
)  # Python's default of 700 takes a seventh of the time of composing a configuration
# Composing a configuration takes a quarter less time with the YAML parser in C, which OmegaConf finds by this name, and
# without copies of Hydra's store of schemas, which never changes.
yaml.SafeLoader = yaml.CSafeLoader  # type: ignore[misc, assignment]
ConfigStore.__deepcopy__ = lambda store, _: store  # type: ignore[attr-defined]
_frozen_modules = 0


def pytest_runtest_teardown() -> None:
    """Exempt what large imports leave in memory from garbage collection, a third of a small run's time."""
    global _frozen_modules
    if len(sys.modules) > _frozen_modules + 300:
        gc.collect()
        gc.freeze()
        _frozen_modules = len(sys.modules)


FAMILY_NAMES = ("qwen", "llama", "gemma", "olmo")


@pytest.fixture(params=FAMILY_NAMES)
def family(request: pytest.FixtureRequest) -> str:
    """Each of the four families in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this session that the processes which run its tests share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def tiny_folder(shared_folder: Path) -> Callable[..., Path]:
    """Folder of a random-weight model, by family; `plain` ones carry no chat template.

    As in the shipped folders of the miniature, `build.json` has the digest of the weights.
    """
    import torch

    from cme.miniature import models
    from cme.miniature.families import FAMILIES, make_model, train_tokenizer

    torch.set_num_threads(1)

    def make(name: str, plain: bool = False) -> Path:
        target = shared_folder / "tiny" / f"{name}{'-plain' * plain}"
        target.parent.mkdir(exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not (target / "build.json").exists():
                build(target, name, plain)
        return target

    def build(target: Path, name: str, plain: bool) -> None:
        tokenizer = train_tokenizer(FAMILIES[name], models.tokenizer_texts())
        torch.manual_seed(FAMILY_NAMES.index(name))
        model = make_model(FAMILIES[name], len(tokenizer), 32, 2)
        with torch.no_grad():  # five times the usual weights, so that attention and context matter
            for key, weight in model.named_parameters():
                if weight.ndim == 2 and "embed" not in key:
                    weight.mul_(5)
        tokenizer.chat_template = None if plain else FAMILIES[name].template
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
        digest = models.file_digest(target / models.WEIGHTS_FILE)
        (target / "build.json").write_text(json.dumps({"sha256": digest}))

    return make


@pytest.fixture
def packages_are_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval lists the installed packages in its results, of which we read the scores: a second per evaluation."""
    monkeypatch.setattr("torch.utils.collect_env.get_pip_packages", lambda *_: ("pip", ""))


@pytest.fixture
def hub_cache(tmp_path: Path) -> Iterator[Path]:
    """An empty cache of the hub."""
    from hub_snapshots import private_cache

    with private_cache(tmp_path / "hub") as folder:
        yield folder


@pytest.fixture
def tiny(tiny_folder: Callable[..., Path]) -> Callable[..., "Checkpoint"]:
    """A freshly loaded random-weight checkpoint, by family."""
    from cme.checkpoints import load

    def loaded(name: str, plain: bool = False) -> "Checkpoint":
        return load(str(tiny_folder(name, plain)))

    return loaded


SMALL = (
    "trainer.max_steps=2",
    "trainer.per_device_train_batch_size=8",
    "trainer.num_generations=4",
    "trainer.max_completion_length=6",
    "evaluation.max_new_tokens=6",
    "data.train_prompts=24",
    "data.eval_prompts=12",
)


@pytest.fixture(scope="session")
def miniature_weights(tiny_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all miniature checkpoints with random-weight models; both builds have the same."""
    from cme.miniature import models

    folder = tmp_path_factory.mktemp("miniature")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(models.WEIGHTS_VARIABLE, str(folder))
        for name in models.checkpoint_names():
            family, _, recipe = models.split_name(name)
            models.checkpoint_folder(name).symlink_to(tiny_folder(family, plain=recipe == "pretrained"))
    return folder


@pytest.fixture
def cell(
    miniature_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[str]]:
    """Command lines of cells that run in a second, on random-weight models."""
    monkeypatch.setenv("CME_MINIATURE", str(miniature_weights))
    return lambda *overrides: [*SMALL, f"results_dir={tmp_path / 'runs'}", *overrides]


@pytest.fixture(scope="session")
def recorded(miniature_weights: Path, shared_folder: Path) -> Callable[..., Path]:
    """The results directory of a small run by its overrides; each run is made once per session. Do not write there."""
    from experiments.config import composition
    from experiments.run import pipeline

    def results(*overrides: str) -> Path:
        folder = shared_folder / hashlib.sha256(repr(sorted(overrides)).encode()).hexdigest()[:16]
        made = folder.with_suffix(".made")
        with FileLock(folder.with_suffix(".lock")):
            if not made.exists():
                with pytest.MonkeyPatch.context() as patch:
                    patch.setenv("CME_MINIATURE", str(miniature_weights))
                    [config] = composition.compose_cells([*SMALL, f"results_dir={folder}", *overrides])
                    pipeline.run(config)
                made.touch()
        return folder

    return results


@pytest.fixture
def finished(
    cell: Callable[..., list[str]], recorded: Callable[..., Path], tmp_path: Path
) -> Callable[..., list[str]]:
    """The command line of a small run that is already finished in this test's own results directory."""

    def arguments(*overrides: str) -> list[str]:
        shutil.copytree(recorded(*overrides), tmp_path / "runs", dirs_exist_ok=True)
        return cell(*overrides)

    return arguments


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made and saved as empty files, since drawing takes most of the time of a report."""
    from matplotlib.figure import Figure

    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: path.touch())
