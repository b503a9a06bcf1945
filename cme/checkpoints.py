"""Loading of weights from the hub, a local folder, a Python package, or the miniature world.

The name of a checkpoint is `miniature:qwen-1/pretrained`, `package:gemma-3-270m`, `tuned:gemma-3-270m-sft` (made of a
packaged one by this project), a folder, or a hub id. A hub id may end in `@` and a commit, tag or branch, as in
`owner/name@revision`. `random:` before a name gives the same architecture and tokenizer with random weights from the
model's own initialisation and a fixed seed. No other module calls `from_pretrained` on weights that it has not written.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import GENERATION_CONFIG_NAME

from cme import Unavailable
from cme.availability import RANDOM, Quantization, ensure, has_tokenizer
from cme.models import chat, packages, template_variables
from cme.models.generation import NEUTRAL_DECODING
from cme.runtime.errors import describe


@dataclass
class Checkpoint:
    """A loaded model in eval mode with its tokenizer, which always has a chat template and a pad token.

    The tokenizer's `eos_token` is the token that ends the assistant's turn. The model's generation config decodes
    greedily and stops at all `end_ids`; nothing else in it is the checkpoint's.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @property
    def end_ids(self) -> tuple[int, ...]:
        """Ids of the tokens that end a response, sorted: the checkpoint's own, and its template's end of turn."""
        return chat.end_ids(self.tokenizer, self.model.generation_config)


def load(
    name: str,
    *,
    dtype: str = "float32",
    device: str | None = None,
    quantization: Quantization | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> Checkpoint:
    """Load a checkpoint by name; two calls share no modules.

    Raises as `ensure` does, Unavailable, with the innermost cause, for files that cannot be loaded, and ValueError as
    `template_variables.set_variables` does.

    Args:
        name: The checkpoint.
        dtype: Name of a torch dtype for the weights.
        device: By default the GPU, where there is one.
        quantization: `8bit` rounds the weights of the linear layers within the blocks with bitsandbytes, by LLM.int8()
            (arXiv 2208.07339); all other weights keep `dtype`.
        chat_template_kwargs: Values for variables of the chat template, such as `{"enable_thinking": False}`, and its
            date (`cme.models.template_variables`). A policy that was saved with values keeps them by default.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    place = ensure([name])[name]
    with _explain_load_errors(name):
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
        rows = len(model.get_input_embeddings().weight)
        if tokenizer.vocab_size > rows:  # without added tokens: Gemma 3 has one that no text model embeds
            raise ValueError(
                f"its tokenizer has {tokenizer.vocab_size} tokens, its model embeds {rows}: they do not belong together"
            )
        model.generation_config = GenerationConfig(
            **NEUTRAL_DECODING,
            do_sample=False,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=list(chat.end_ids(tokenizer, _published_generation_config(place))),
            pad_token_id=tokenizer.pad_token_id,
        )
    template_variables.set_variables(tokenizer, chat_template_kwargs)
    return Checkpoint(name, model.eval(), tokenizer)


@contextmanager
def _explain_load_errors(name: str) -> Iterator[None]:
    """Raise Unavailable, with the innermost cause, for an error of the libraries that load a checkpoint."""
    try:
        yield
    except Unavailable:
        raise
    except Exception as error:  # tokenizers raises Exception itself, and a template any error
        raise Unavailable(f"checkpoint {name} cannot be loaded ({describe(error)})") from error


def stop_ids(name: str, rule: chat.StopRule) -> tuple[int, ...]:
    """Ids of the tokens that end a checkpoint's responses under a rule, sorted.

    `checkpoint`: those of its own generation config. `template`: the end of turn of its chat template. `both`: all.
    Raises ValueError where the rule is `checkpoint` and the checkpoint names none, and as `check_available` does.
    """
    place = ensure([name])[name]
    with _explain_load_errors(name):
        config, tokenizer = _published_generation_config(place), _tokenizer(place)
    if rule == "both":
        return chat.end_ids(tokenizer, config)
    if rule == "template":
        return (chat.end_of_turn_id(tokenizer),)
    if not (ids := chat.configured_end_ids(config)):
        raise ValueError(
            f"the generation config of {name} names no token that ends a response; use both or template"
        )
    return tuple(sorted(ids))


def _published_generation_config(place: str) -> GenerationConfig:
    """The checkpoint's own generation config, or what its model config says of generation."""
    if (Path(place) / GENERATION_CONFIG_NAME).exists():
        return GenerationConfig.from_pretrained(place)
    return GenerationConfig.from_model_config(AutoConfig.from_pretrained(place, trust_remote_code=False))


def _read(place: str, dtype: str, **options: Any) -> PreTrainedModel:
    settings = {"use_safetensors": True, "trust_remote_code": False, "output_loading_info": True}
    with packages.hide_loading_bar():
        model, found = AutoModelForCausalLM.from_pretrained(place, dtype=dtype, **settings, **options)
    if lacking := sorted(found["missing_keys"]):
        more = f" and {len(lacking) - 1} more" if lacking[1:] else ""
        raise ValueError(f"its files lack the weights {lacking[0]}{more}, which would be random")
    return model


def load_tokenizer(
    name: str, chat_template_kwargs: Mapping[str, Any] | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint, as `load` gives it. Raises as `load` does."""
    place = ensure([name], tokenizers_of=[name])[name]
    with _explain_load_errors(name):
        tokenizer = _tokenizer(place)
    template_variables.set_variables(tokenizer, chat_template_kwargs)
    return tokenizer


def _tokenizer(place: str) -> PreTrainedTokenizerBase:
    if not has_tokenizer(place):
        raise FileNotFoundError("it has no tokenizer.json or other vocabulary")
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
