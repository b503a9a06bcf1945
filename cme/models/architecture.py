"""Facts about a model's architecture that not every model class declares.

Configuration classes of transformers differ in the fields that they have. This is the only module that asks whether a
field is there.
"""

import inspect
from typing import Any

from transformers import PreTrainedModel


def config_field(model: PreTrainedModel, name: str) -> Any:
    """A field of the model's text configuration; None where its class does not have the field."""
    return getattr(model.config.get_text_config(), name, None)


def context_length(model: PreTrainedModel) -> int | None:
    """The most tokens that a model has positions for; None if its configuration names no limit."""
    length: int | None = config_field(model, "max_position_embeddings") or config_field(model, "max_seq_len")
    return length


def short_length(model: PreTrainedModel) -> int | None:
    """The longest row that a model with `longrope` (Phi-3) computes with its short factors; None for other models.

    The longest row of a forward pass decides on the factors of all.
    """
    rope: dict[str, Any] = config_field(model, "rope_parameters") or {}
    switches = rope.get("rope_type") == "longrope"
    return int(rope["original_max_position_embeddings"]) if switches else None


def reads_positions(model: PreTrainedModel) -> bool:
    """Whether a model is told the position of each token.

    Others, such as BART's decoder, may count the columns of a batch, padding on the left included.
    """
    return "position_ids" in inspect.signature(type(model.get_decoder()).forward).parameters


def keeps_keys_and_values(model: PreTrainedModel) -> bool:
    """Whether a model takes a cache of keys and values. RWKV, Mamba and xLSTM take a state of their own."""
    return "past_key_values" in inspect.signature(type(model.get_decoder()).forward).parameters


def padding_shifts_positions(model: PreTrainedModel) -> bool:
    """Whether padding on the left may change what attention computes, unless the model is told the positions.

    It does not with rotary positions, where only distances count, unless the longest row decides on their frequencies.
    """
    rope: dict[str, Any] = config_field(model, "rope_parameters") or {}
    return not rope or rope.get("rope_type") in ("longrope", "dynamic")


def has_rounded_weights(model: PreTrainedModel) -> bool:
    """Whether some of the weights are stored as integers (quantization)."""
    return any(not weight.is_floating_point() for weight in model.parameters())
