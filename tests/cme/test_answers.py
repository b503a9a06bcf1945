"""Answers: normalisation and extraction."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cme.answers import extract, normalize


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Fox.", "the fox"),
        ("  fox,\n BEAR ; wolf!", "fox bear wolf"),
        ("7.", "7"),
        ("...", ""),
        ("", ""),
        ("Élan vital", "élan vital"),
    ],
)
def test_normalize(text: str, normal: str) -> None:
    assert normalize(text) == normal


@given(st.text())
def test_normalizing_twice_changes_nothing(text: str) -> None:
    once = normalize(text)
    assert normalize(once) == once
    assert once == once.strip() and "  " not in once


def test_the_whole_response_is_its_answer() -> None:
    assert extract("The Fox, red.", "whole") == "the fox red"
    assert extract(" .!? ", "whole") is None
    assert extract("", "whole") is None


@pytest.mark.parametrize("kind", ["none", "hole"])
def test_data_without_answers_are_refused_by_name(kind: str) -> None:
    with pytest.raises(ValueError, match=f"'{kind}'.*whole"):
        extract("7.", kind)  # type: ignore[arg-type]
