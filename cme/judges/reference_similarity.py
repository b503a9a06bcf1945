"""Reference similarity as judge: the response closer in meaning to a reference answer wins."""

from collections.abc import Sequence
from functools import lru_cache

from cme.judges.base import Judge, JudgeVerdict, verdict_from_scores
from cme.models.embeddings import count_truncated, embed, require_encoder
from cme.records import Generation, Prompt


class ReferenceSimilarity(Judge):
    """Compares the cosine similarity of each response's sentence embedding to that of the prompt's reference.

    The embeddings (all-MiniLM-L6-v2, loaded from an installed package) capture topic more than truth, so this is a
    coarse substitute for a judge that reads. The encoder reads only the first 256 word pieces of a text. An empty
    response has similarity -1. The verdict is unscored if the prompt has no reference.

    Args:
        margin: difference of the two cosines up to which the verdict is a tie.
    """

    def __init__(self, margin: float) -> None:
        self.margin = margin
        self._embed = lru_cache(maxsize=None)(lambda text: embed([text])[0])

    @staticmethod
    def check(margin: float) -> None:
        """Raise ValueError for a negative margin, Unavailable if the sentence encoder is not installed."""
        if margin < 0:
            raise ValueError(f"margin={margin}; it must be at least 0")
        require_encoder("judge=reference_similarity")

    @staticmethod
    def missing(prompt: Prompt, *responses: Generation) -> str | None:
        """A sentence if the prompt has no reference."""
        return "the prompt has no reference answer" if prompt.reference is None else None

    @staticmethod
    def count_unread(texts: Sequence[str]) -> int:
        """The number of texts that are longer than the encoder reads."""
        return count_truncated(texts)

    def compare(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
        """Compare two responses by their similarity to the prompt's reference."""
        if (lack := self.missing(prompt)) is not None:
            return JudgeVerdict("unscored", lack)
        reference = self._embed(str(prompt.reference))
        similarities = [
            float(reference @ self._embed(g.response)) if g.response.strip() else -1.0
            for g in (first, second)
        ]
        return verdict_from_scores(similarities[0], similarities[1], self.margin)
