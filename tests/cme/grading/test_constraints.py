"""Verifiable constraints: each kind on right and wrong responses, both scores, and settings that are refused."""

import sys
from typing import Any

import lm_eval.tasks
import nltk
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cme import Unavailable
from cme.grading import constraints
from cme.grading.constraints import (
    ConstrainedPrompt,
    check_packages,
    find_problem,
    loosely_met,
    remove_repeated,
    strictly_met,
)

Settings = dict[str, Any]


def constrained(*constraints: tuple[str, Settings], prompt: str = "Say something.") -> ConstrainedPrompt:
    return ConstrainedPrompt(
        1, prompt, [kind for kind, _ in constraints], [kwargs for _, kwargs in constraints]
    )


def test_the_loose_rule_ignores_first_line_last_line_and_asterisks() -> None:
    prompt = constrained(("punctuation:no_comma", {}), ("startend:end_checker", {"end_phrase": "The end."}))
    response = "Sure, here it is:\nTea and milk.\n**The end.**"
    assert (strictly_met(prompt, response), loosely_met(prompt, response)) == ([False, False], [True, True])
    assert loosely_met(prompt, "Tea, milk.") == [False, False]


def test_constraints_are_graded_one_by_one() -> None:
    prompt = constrained(
        ("punctuation:no_comma", {}), ("startend:quotation", {}), ("detectable_format:title", {})
    )
    assert strictly_met(prompt, '"<<Tea>>\nHot, with milk."') == [False, True, True]


def test_the_detection_of_languages_is_repeatable() -> None:
    prompt = constrained(("language:response_language", {"language": "it"}))
    assert len({tuple(strictly_met(prompt, "la casa solo no")) for _ in range(30)}) == 1


def test_absent_settings_may_be_null_as_in_the_published_data() -> None:
    prompt = constrained(("punctuation:no_comma", {"num_words": None, "relation": None}))
    assert find_problem(prompt) is None and strictly_met(prompt, "Tea") == [True]


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        (
            ("punctuation:no_dash", {}),
            r"'punctuation:no_dash' is no known kind .* change_case:english_capital, ",
        ),
        (
            ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "at least"}),
            "no known kind",
        ),
        (("length_constraints:number_words", {"num_words": 5}), "must have values for num_words, relation"),
        (("length_constraints:number_words", {"num_words": 0, "relation": "at least"}), "have relation$"),
        (("length_constraints:number_words", {"num_words": "5", "relation": "at least"}), "cannot be used"),
        (("length_constraints:number_words", {"num_words": 5, "relation": "at most"}), "cannot be used"),
        (
            ("length_constraints:number_words", {"num_words": -5, "relation": "at least"}),
            "out of range: .*-5",
        ),
        (
            (
                "length_constraints:nth_paragraph_first_word",
                {"num_paragraphs": 2, "nth_paragraph": 3, "first_word": "a"},
            ),
            "out of range: .*'nth_paragraph': 3",
        ),
        (("language:response_language", {"language": "xx"}), "cannot be used"),
        (
            ("keywords:letter_frequency", {"letter": "ab", "let_frequency": 2, "let_relation": "at least"}),
            "out of range: .*'ab'",
        ),
        (("keywords:existence", {"keywords": ["c("]}), "cannot be used"),
        (("keywords:existence", {"keywords": "tea"}), "keywords of keywords:existence must be a list"),
        (("punctuation:no_comma", {"num_words": 5}), "must have values for nothing, and have num_words"),
    ],
)
def test_a_constraint_that_cannot_be_checked_is_refused(
    constraint: tuple[str, Settings], message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(find_problem(constrained(constraint)))


def test_a_prompt_needs_distinct_constraints_with_settings() -> None:
    comma = ("punctuation:no_comma", {})
    assert "occurs twice" in str(find_problem(constrained(comma, comma)))
    assert "at least one constraint" in str(find_problem(constrained()))
    assert "at least one constraint" in str(find_problem(constrained(comma, prompt=" ")))
    assert "2 entries for 1" in str(find_problem(ConstrainedPrompt(1, "Hi", [comma[0]], [{}, {}])))


def test_the_import_downloads_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise LookupError

    for name in [name for name in sys.modules if name.startswith("lm_eval.tasks.ifeval")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(lm_eval.tasks, "ifeval", raising=False)
    monkeypatch.setattr(nltk.data, "find", fail)
    monkeypatch.setattr(nltk, "download", fail)
    assert constraints._ifeval.__wrapped__().instructions_registry.INSTRUCTION_DICT
    assert capsys.readouterr().out == ""


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constraints, "PACKAGES", ("lm_eval", "not_installed"))
    with pytest.raises(Unavailable) as caught:
        check_packages("judge=instruction_following")
    assert str(caught.value) == (
        "judge=instruction_following needs the package not_installed, which is not installed: "
        "pip install 'cme-harness[capabilities]'"
    )


@pytest.mark.parametrize(
    ("response", "own"),
    [
        ("A shop sells tea.", "A shop sells tea."),
        ("Begin with a title: Tea.", "Begin with a title: Tea."),  # four words
        ("I BEGIN with a title -- in it: Tea.", "I : Tea."),  # five, whatever stands between them
        (
            "It begins with a title in brackets.",
            "It begins with a title in brackets.",
        ),  # "begins" is another word
        ("Tea.\n* Describe a shop. Begin with!\n<<Tea>>", "Tea.\n<<Tea>>"),  # a line without words goes
        ("Tea. That is all we know now.", "Tea. That is all we know now."),  # demanded by the constraint
        ("Tea. End in: That is all we know now.", "Tea.  know now."),  # the instruction with what it demands
    ],
)
def test_repeated_words_are_removed_unless_a_constraint_demands_them(response: str, own: str) -> None:
    text = "Describe a shop. Begin with a title in it. End in: That is all we know now."
    prompt = constrained(("startend:end_checker", {"end_phrase": "That is all we know now."}), prompt=text)
    assert remove_repeated(prompt, response) == own


@given(
    *(st.lists(st.sampled_from("abc"), max_size=size) for size in (12, 20)),
    st.lists(st.sampled_from("abc"), max_size=8),
)
def test_the_words_that_are_kept_are_in_no_repeated_run(
    asked: list[str], said: list[str], demanded: list[str]
) -> None:
    """As a search of each word's windows in the texts finds them."""
    prompt = constrained(("startend:end_checker", {"end_phrase": " ".join(demanded)}), prompt=" ".join(asked))
    kept = []
    for at, word in enumerate(said):
        windows = [said[start : start + 5] for start in range(max(0, at - 4), at + 1)]
        texts = [f" {' '.join(window)} " for window in windows if len(window) == 5]
        asks, demands = (f" {' '.join(words)} " for words in (asked, demanded))
        if not any(text in asks and text not in demands for text in texts):
            kept.append(word)
    assert remove_repeated(prompt, " ".join(said)).split() == kept
