"""A private cache of the hub, laid out as `hf download` leaves it."""

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock

Kind = Literal["models", "datasets"]


@dataclass(frozen=True)
class HubCache:
    """The cache in the folder `home`, which processes use through their environment."""

    home: Path

    @property
    def hub(self) -> Path:
        """The folder of the repositories."""
        return self.home / "hub"

    @property
    def prepared_data_sets(self) -> Path:
        """Where the library `datasets` keeps the data sets that it has read."""
        return self.home / "datasets"

    @property
    def nltk_data(self) -> Path:
        """Where NLTK finds its data."""
        return self.home / "nltk"

    def snapshot(self, name: str, kind: Kind = "models") -> Path:
        """The folder of a repository's only revision."""
        return self._root(name, kind) / "snapshots" / revision(name)

    def new_snapshot(self, name: str, kind: Kind = "models") -> Path:
        """The same folder, new and empty."""
        root = self._root(name, kind)
        shutil.rmtree(root, ignore_errors=True)
        (root / "refs").mkdir(parents=True)
        (root / "refs" / "main").write_text(revision(name))
        folder = self.snapshot(name, kind)
        folder.mkdir(parents=True)
        return folder

    def environment(self) -> dict[str, str]:
        """The environment of a process that knows this cache alone, no hub, and no key but the judge server's."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
        return inherited | {
            "HF_HOME": str(self.home),
            "HF_HUB_CACHE": str(self.hub),
            "HF_DATASETS_CACHE": str(self.prepared_data_sets),
            "HF_HUB_OFFLINE": "1",
            "NLTK_DATA": str(self.nltk_data),
            "TOKENIZERS_PARALLELISM": "false",
            "OPENAI_API_KEY": "dummy",
            "ANTHROPIC_API_KEY": "dummy",
        }

    def _root(self, name: str, kind: Kind) -> Path:
        return self.hub / f"{kind}--{name.replace('/', '--')}"


def revision(name: str) -> str:
    """The commit of a repository: 40 hex digits, always the same ones."""
    return hashlib.sha1(name.encode()).hexdigest()


def build(home: Path, parts: Mapping[str, Callable[[HubCache], None]]) -> HubCache:
    """A cache with the named parts. Each part is built once; processes wait for each other."""
    home.mkdir(parents=True, exist_ok=True)
    cache = HubCache(home)
    with FileLock(home / "build.lock"):
        for name, build_part in parts.items():
            done = home / f"{name}.built"
            if not done.exists():
                build_part(cache)
                done.touch()
    return cache
