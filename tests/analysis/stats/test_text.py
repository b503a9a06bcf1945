"""Diversity and similarity of responses against values by hand, sacrebleu and rouge_score."""

import time
import zlib
from math import isnan

import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from rouge_score import rouge_scorer

from analysis.stats import text
from cme.grading.answers import normalize_text

few_words = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=9)


def drawn(responses: int, longest: int, vocabulary: int) -> list[list[str]]:
    rng = np.random.default_rng(7)
    lengths = rng.integers(1, longest + 1, responses)
    return [[f"w{i}" for i in rng.zipf(1.5, n) % vocabulary] for n in lengths]


@given(st.text() | st.sampled_from(["The crow's HOME: a field, no 7.", "... !"]))
def test_words_are_those_of_the_repetition_monitor(said: str) -> None:
    assert text.split_words(said) == normalize_text(said).split()


def test_pairs_are_truncated_to_the_shorter_response() -> None:
    one = [["a", "b", "c"], ["a"], [], ["a", "b"]]
    other = [["x", "y"], ["x", "y", "z"], ["x"], ["x", "y"]]
    assert text.match_lengths(one, other) == (
        [["a", "b"], ["a"], [], ["a", "b"]],
        [["x", "y"], ["x"], [], ["x", "y"]],
    )


def test_distinct_n_by_hand() -> None:
    responses = [["a", "b", "a"], ["a", "b"], ["c"]]
    assert text.distinct_n(responses, 1) == 3 / 6
    assert text.distinct_n(responses, 2) == 2 / 3  # ab twice, ba; none across responses
    assert isnan(text.distinct_n(responses, 4))


@given(st.lists(few_words, min_size=2, max_size=6) | st.just(drawn(60, 25, 40)))
def test_self_bleu_is_sacrebleus_one_sentence_at_a_time(responses: list[list[str]]) -> None:
    lines = [" ".join(words) for words in responses if words]
    bleu = sacrebleu.BLEU(tokenize="none", smooth_method="floor", smooth_value=0.1, effective_order=True)
    if len(lines) < 2:
        assert isnan(text.self_bleu(responses))
    else:
        scores = [bleu.sentence_score(s, lines[:i] + lines[i + 1 :]).score for i, s in enumerate(lines)]
        assert text.self_bleu(responses) == pytest.approx(np.mean(scores))


def test_compression_by_definition() -> None:
    responses = [["the", "crow", "is", "black"], [], ["the", "cat", "is", "small"]]
    joined = b"the crow is black\nthe cat is small"
    assert text.compression_ratio(responses) == len(joined) / len(zlib.compress(joined, 9))
    assert isnan(text.compression_ratio([[], []]))


def test_rouge_l_is_that_of_the_default_tokenizer_on_plain_words() -> None:
    ones, others = drawn(40, 150, 30), drawn(40, 150, 30)[::-1]
    peer = rouge_scorer.RougeScorer(["rougeL"])
    expected = [
        peer.score(" ".join(a), " ".join(b))["rougeL"].fmeasure for a, b in zip(ones, others, strict=True)
    ]
    assert text.rouge_l(ones, others) == pytest.approx(expected)
    german = text.split_words("Schwarz, weiß!"), text.split_words("schwarz weiß")
    assert text.rouge_l([german[0], [], []], [german[1], [], ["a"]]) == [1, 0, 0]


def test_216_responses_take_less_than_half_a_second() -> None:
    responses = drawn(216, 60, 500)
    began = time.process_time()
    text.self_bleu(responses), text.compression_ratio(responses), text.distinct_n(responses, 2)
    text.rouge_l(responses, responses[::-1])
    assert time.process_time() - began < 0.5
