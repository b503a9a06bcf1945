"""Rewards from values per token, by hand."""

import pytest
import torch

from cme.rewards.cross_model import pooling
from cme.scoring.verifier import Score


@pytest.mark.parametrize(
    ("start", "end", "inside"),
    [
        (0, 12, [True, True, True, False]),
        (3, 9, [False, True, False, False]),
        (4, 5, [False, True, False, False]),  # within a token
        (2, 4, [True, True, False, False]),  # across a boundary
        (9, 12, [False, False, True, False]),
        (3, 3, [False, False, False, False]),  # no character
        (12, 20, [False, False, False, False]),  # behind the end
    ],
)
def test_the_mask_marks_tokens_that_overlap_a_span(start: int, end: int, inside: list[bool]) -> None:
    offsets = [(0, 3), (3, 9), (9, 12), (12, 12)]  # the last is an end of turn
    for spans, expected in ((offsets, inside), ([], [])):
        score = Score(torch.zeros(len(spans)), torch.empty(0), spans, False, False, False, None)
        assert pooling.span_mask(score, start, end).tolist() == expected
