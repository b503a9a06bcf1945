"""Advantages against TRL's formula, slow loops, and by hand."""

import math
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from naive import standardize
from trl.trainer.utils import nanstd

from cme.training.advantages import group_advantages

NAN = math.nan
EIGHTHS = st.integers(-80, 80).map(lambda n: n / 8)
REWARD = st.one_of(EIGHTHS, EIGHTHS, st.just(NAN))
FLOOR = st.sampled_from([0.0, 0.5, 4.0])


@st.composite
def rewards(draw: st.DrawFn) -> tuple[list[float], int]:
    group = draw(st.integers(2, 5))
    groups = draw(st.integers(1, 3))
    return draw(st.lists(REWARD, min_size=group * groups, max_size=group * groups)), group


@st.composite
def tokens(draw: st.DrawFn) -> tuple[list[list[float]], int]:
    """Rows of values of different lengths, with missing values."""
    group, groups, width = draw(st.integers(2, 4)), draw(st.integers(1, 2)), draw(st.integers(1, 5))
    rows = []
    for _ in range(group * groups):
        row = draw(st.lists(REWARD, max_size=width))
        rows.append(row + [NAN] * (width - len(row)))
    return rows, group


@given(case=rewards(), scale=st.booleans())
def test_sequence_advantages_are_trls(case: tuple[list[float], int], scale: bool) -> None:
    given_rewards, group = case
    r = torch.tensor(given_rewards).view(-1, group)
    centred = r - torch.nanmean(r, dim=1, keepdim=True)
    trl = centred / (nanstd(r, dim=1)[:, None] + 1e-4) if scale else centred
    expected = torch.nan_to_num(trl.view(-1), nan=0.0)
    found = group_advantages(r.view(-1, 1), group, floor=0.0, scale=scale)[:, 0]
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-5, abs=1e-4)


@given(case=tokens(), floor=FLOOR, scale=st.booleans(), normalize=st.sampled_from(["position", "sequence"]))
def test_token_advantages_equal_the_loop(
    case: tuple[list[list[float]], int], floor: float, scale: bool, normalize: Any
) -> None:
    rows, group = case
    width = len(rows[0])
    expected = [[0.0] * width for _ in rows]
    for i, t in product(range(len(rows)), range(width)):
        start = i - i % group
        columns = [t] if normalize == "position" else range(width)
        compared = [rows[j][s] for j in range(start, start + group) for s in columns]
        expected[i][t] = standardize(compared, rows[i][t], floor, scale)
    found = group_advantages(
        torch.tensor(rows, dtype=torch.float64), group, normalize, floor=floor, scale=scale
    )
    assert found.shape == (len(rows), width)
    for row, other in zip(found.tolist(), expected, strict=True):
        assert row == pytest.approx(other, abs=1e-9)


@pytest.mark.parametrize("scale", [True, False])
def test_an_infinite_value_affects_no_other(scale: bool) -> None:
    values = torch.tensor([[1.0, -math.inf], [2.0, -1.0], [3.0, -2.0]])
    without = values.clone()
    without[0, 1] = math.nan
    found = group_advantages(values, 3, "position", floor=0.0, scale=scale)
    assert found[0, 1] == 0
    assert torch.equal(found, group_advantages(without, 3, "position", floor=0.0, scale=scale))
