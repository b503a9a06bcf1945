"""Control characters of texts from elsewhere do not reach the terminal."""

import pytest

from cme.runtime.terminal import plain


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("a\tb\nc 狐 é", "a\tb\nc 狐 é"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("100 %\rwin", r"100 %\rwin"),
        ("\x9b31m\x07\x00\x7f\x85", r"\x9b31m\x07\x00\x7f\x85"),
        ("abc\u202edcba", r"abc\u202edcba"),
    ],
)
def test_control_characters_are_printed_as_escapes(text: str, printed: str) -> None:
    assert plain(text) == printed
