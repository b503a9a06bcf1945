"""Diversity and similarity of responses against values by hand, sacrebleu, rouge_score and slow definitions."""

import time
import zlib
from collections import Counter
from itertools import combinations
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
sets = st.lists(few_words, min_size=2, max_size=6)


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


def test_metrics_depend_on_length_until_lengths_are_matched() -> None:
    rng = np.random.default_rng(0)
    short = [[f"w{i}" for i in rng.integers(0, 50, 5)] for _ in range(200)]
    long = [[f"w{i}" for i in rng.integers(0, 50, 50)] for _ in range(200)]
    assert text.distinct_n(long, 2) < 0.8 * text.distinct_n(short, 2)
    assert text.compression_ratio(long) > 1.2 * text.compression_ratio(short)
    assert abs(text.self_bleu(long) - text.self_bleu(short)) > 2
    before, after = text.match_lengths(short, long)
    assert text.distinct_n(after, 2) == pytest.approx(text.distinct_n(before, 2), abs=0.03)
    assert text.self_bleu(after) == pytest.approx(text.self_bleu(before), abs=1.5)
    assert text.compression_ratio(after) == pytest.approx(text.compression_ratio(before), rel=0.05)


def sacre_self_bleu(responses: list[list[str]]) -> float:
    """Self-BLEU by sacreBLEU, one sentence at a time."""
    lines = [" ".join(words) for words in responses if words]
    bleu = sacrebleu.BLEU(tokenize="none", smooth_method="floor", smooth_value=0.1, effective_order=True)
    scores = [bleu.sentence_score(s, lines[:i] + lines[i + 1 :]).score for i, s in enumerate(lines)]
    return float(np.mean(scores))


@given(sets | st.just(drawn(60, 25, 40)))
def test_self_bleu_is_sacrebleus(responses: list[list[str]]) -> None:
    ours = text.self_bleu(responses)
    if sum(map(bool, responses)) < 2:
        assert isnan(ours)
    else:
        assert ours == pytest.approx(sacre_self_bleu(responses))


@given(sets, st.integers(1, 4))
def test_clipped_matches_by_definition(responses: list[list[str]], n: int) -> None:
    counts = [Counter(zip(*(r[i:] for i in range(n)), strict=False)) for r in responses]
    expected = [
        sum(min(c, max(other[g] for j, other in enumerate(counts) if j != i)) for g, c in own.items())
        for i, own in enumerate(counts)
    ]
    assert text.clipped_matches(responses, n) == expected


def test_compression_by_definition() -> None:
    responses = [["the", "crow", "is", "black"], [], ["the", "cat", "is", "small"]]
    joined = b"the crow is black\nthe cat is small"
    assert text.compression_ratio(responses) == len(joined) / len(zlib.compress(joined, 9))
    assert isnan(text.compression_ratio([[], []]))
    same = [["the", "crow"]] * 200
    assert text.compression_ratio(same) > 10 * text.compression_ratio(drawn(200, 3, 100_000))


def slow_common_subsequence(one: list[str], other: list[str]) -> int:
    """The longest of all subsequences of one that are in the other."""
    for length in range(len(one), 0, -1):
        for chosen in combinations(one, length):
            rest = iter(other)
            if all(word in rest for word in chosen):
                return length
    return 0


@given(few_words, few_words)
def test_rouge_l_by_definition(one: list[str], other: list[str]) -> None:
    expected = 2 * slow_common_subsequence(one, other) / (len(one) + len(other)) if one and other else 0
    assert text.rouge_l([one, other], [other, one]) == pytest.approx([expected] * 2)


def test_rouge_l_is_that_of_the_default_tokenizer_on_plain_words() -> None:
    ones, others = drawn(40, 150, 30), drawn(40, 150, 30)[::-1]
    peer = rouge_scorer.RougeScorer(["rougeL"])
    expected = [
        peer.score(" ".join(a), " ".join(b))["rougeL"].fmeasure for a, b in zip(ones, others, strict=True)
    ]
    assert text.rouge_l(ones, others) == pytest.approx(expected)
    assert text.rouge_l([text.split_words("Schwarz, weiß!")], [text.split_words("schwarz weiß")]) == [1]


def test_216_responses_take_less_than_half_a_second() -> None:
    responses = drawn(216, 60, 500)
    began = time.process_time()
    text.self_bleu(responses), text.compression_ratio(responses), text.distinct_n(responses, 2)
    text.rouge_l(responses, responses[::-1])
    assert time.process_time() - began < 0.5
