"""Reference similarity: the response nearer in meaning to a reference answer wins.

Nearness is the cosine of sentence embeddings (all-MiniLM-L6-v2, from a package that carries it). It sees
topic more than truth, so its verdicts are a coarse stand-in for a judge that reads.
"""

from collections.abc import Sequence
from functools import lru_cache

from cme.judges import JudgeVerdict, verdict_from_scores
from cme.models.embeddings import count_truncated, embed, require_encoder
from cme.records import Generation, Prompt


class ReferenceSimilarity:
    """Compares cosine similarities to the prompt's reference; within `margin` is a tie.

    An empty response has similarity -1. A prompt without a reference is unscored. The encoder reads the first 256
    word pieces of a text (its `max_seq_length`): of a longer one, response or reference, the rest is cut off unseen;
    `unread` counts these.
    """

    def __init__(self, margin: float) -> None:
        self.margin = margin
        self._embed = lru_cache(maxsize=None)(lambda text: embed([text])[0])

    @staticmethod
    def check(margin: float) -> None:
        """Raise Unavailable if the sentence encoder is not installed."""
        require_encoder("judge=reference_similarity")

    @staticmethod
    def unread(texts: Sequence[str]) -> int:
        """How many of the texts are longer than the encoder reads."""
        return count_truncated(texts)

    def rule(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
        """Compare two responses by their similarity to the prompt's reference."""
        if prompt.reference is None:
            return JudgeVerdict("unscored", "the prompt has no reference answer")
        reference = self._embed(prompt.reference)
        similarities = [
            float(reference @ self._embed(g.response)) if g.response.strip() else -1.0
            for g in (first, second)
        ]
        return verdict_from_scores(similarities[0], similarities[1], self.margin)
