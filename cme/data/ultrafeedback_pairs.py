"""Preference pairs from UltraFeedback's scores of several responses per prompt (Cui et al., arXiv 2310.01377)."""

import math
import random
from collections.abc import Sequence

from cme.data import files
from cme.data.ultrafeedback import SOURCE as INSTRUCTIONS
from cme.records import Preference, Prompt

SOURCE = files.Source(
    INSTRUCTIONS.name, INSTRUCTIONS.split, ("instruction", "completions"), INSTRUCTIONS.rows
)


def load_pairs(
    prompts: Sequence[Prompt], seed: int, *, path: str | None = None, revision: str | None = None
) -> list[Preference]:
    """For each prompt, the response with the highest overall score and the one with the lowest.

    Among responses with equal scores, one is chosen at random. A prompt whose responses all have the same score has no
    pair. `path` is a local file or folder to read instead of the hub, `revision` a commit, tag or branch on
    the hub. Raises ValueError for a prompt that UltraFeedback does not have, and as `files.read_rows`, `files.text`
    and `files.objects`.
    """
    copy = files.Copy(SOURCE, path, revision)
    place = copy.place
    wanted = {p.text for p in prompts}
    answers = {}
    for i, row in enumerate(files.read_rows(copy)):
        if files.text(place, i, "instruction", row["instruction"]) in wanted:
            keys = {"response", "overall_score"}
            answers[row["instruction"]] = i, files.objects(place, i, "completions", row["completions"], keys)
    if unknown := [p.id for p in prompts if p.text not in answers]:
        raise ValueError(f"{len(unknown)} prompts, such as {unknown[0]}, are not in {SOURCE.name}")
    pairs = []
    for prompt in prompts:
        by_score: dict[float, list[str]] = {}
        i, given = answers[prompt.text]
        for answer in given:
            score = _score(place, i, answer["overall_score"])
            if math.isfinite(score):
                by_score.setdefault(score, []).append(files.text(place, i, "response", answer["response"]))
        if len(by_score) > 1:
            rng = random.Random(f"preference:{seed}:{prompt.id}")
            chosen, rejected = rng.choice(by_score[max(by_score)]), rng.choice(by_score[min(by_score)])
            pairs.append(Preference(prompt, chosen, rejected))
    return pairs


def _score(place: str, index: int, value: object) -> float:
    """The score of a response; NaN for one without. Raises ValueError that names the row if it is no number."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        found = f"'overall_score' is {repr(value)[:60]}"
        raise ValueError(f"{place}, row {index + 1}: {found}; it must be a number or null")
    return float(value)
