"""Facts about a model's architecture that not every model class declares.

Configuration classes of transformers differ in the fields that they have. This is the only module that asks whether a
field is there.
"""

from typing import Any

from transformers import PreTrainedModel


def config_field(model: PreTrainedModel, name: str) -> Any:
    """A field of the model's text configuration; None where its class does not have the field."""
    return getattr(model.config.get_text_config(), name, None)


def has_rounded_weights(model: PreTrainedModel) -> bool:
    """Whether some of the weights are stored as integers (quantization)."""
    return any(not weight.is_floating_point() for weight in model.parameters())
