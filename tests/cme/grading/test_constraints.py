"""Verifiable constraints: each kind on right and wrong responses, both scores, and settings that are refused."""

import sys
from typing import Any

import lm_eval.tasks
import nltk
import pytest

from cme import Unavailable
from cme.grading import constraints
from cme.grading.constraints import (
    ConstrainedPrompt,
    check_packages,
    find_problem,
    loosely_met,
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
