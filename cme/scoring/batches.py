"""How rows of prompt and response are grouped into forward passes that share prompts and have little padding."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Ids = Sequence[int]


@dataclass(frozen=True)
class Batch:
    """Distinct prompts whose keys and values are held together, and their responses in chunks of one forward pass."""

    prompts: Sequence[Ids]
    prompt_of: dict[int, int]
    chunks: list[list[int]]


def plan_batches(
    pairs: dict[int, tuple[Ids, Ids]], batch_tokens: int, columns: int | None = None
) -> Iterator[Batch]:
    """Batches of rows of similar length, with at most `batch_tokens` rows x columns per pass unless one row is longer.

    `pairs` are prompt and response by index. Prompts are sorted by length and collected up to the bound. Their
    responses are sorted by length and cut into chunks of rows x (prompt + response) columns, whatever their prompt. No
    response of a chunk has more than 8 tokens beyond twice the shortest, so that little of a pass is padding.

    `columns` bounds the longest prompt and the longest response of a batch together, for a model that has no positions
    beyond; a row by itself must be within the bound.
    """
    rows_of: dict[tuple[int, ...], list[int]] = {}
    for i, (prompt, _) in pairs.items():
        rows_of.setdefault(tuple(prompt), []).append(i)
    longest_of = {prompt: max(len(pairs[i][1]) for i in rows) for prompt, rows in rows_of.items()}
    prompts: list[tuple[int, ...]] = []
    for following in [*sorted(rows_of, key=len), None]:
        if prompts and (
            following is None
            or len(following) * (len(prompts) + 1) > batch_tokens
            or (columns and len(following) + max(longest_of[p] for p in [*prompts, following]) > columns)
        ):
            prompt_of = {i: n for n, held in enumerate(prompts) for i in rows_of[held]}
            chunks: list[list[int]] = [[]]
            for i in sorted(prompt_of, key=lambda i: len(pairs[i][1])):
                length = len(pairs[i][1])
                full = (len(prompts[-1]) + length) * (len(chunks[-1]) + 1) > batch_tokens
                if chunks[-1] and (full or length > 2 * len(pairs[chunks[-1][0]][1]) + 8):
                    chunks.append([])
                chunks[-1].append(i)
            yield Batch(prompts, prompt_of, chunks)
            prompts = []
        if following is not None:
            prompts.append(following)
