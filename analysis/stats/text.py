"""Length, diversity and similarity of sets of responses.

Words are lower-case runs of letters, digits and underscores, as in the training monitors' `repetition`.
"""

import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from math import nan
from types import SimpleNamespace

Words = Sequence[str]
Ngram = tuple[str, ...]

ORDER = 4  # the longest n-grams of BLEU


def split_words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return re.findall(r"\w+", text.lower())


def match_lengths(one: Sequence[Words], other: Sequence[Words]) -> tuple[list[Words], list[Words]]:
    """Two sets of responses to the same prompts, each pair truncated to the length of its shorter response.

    Distinct-n falls and compression rises with length, and BLEU changes too. Truncated sets have equal numbers of
    words and n-grams for each prompt, so length does not affect their comparison.
    """
    pairs = [(a, b, min(len(a), len(b))) for a, b in zip(one, other, strict=True)]
    return [a[:n] for a, _, n in pairs], [b[:n] for _, b, n in pairs]


def ngrams(words: Words, n: int) -> Iterator[Ngram]:
    """The n-grams of a response in order."""
    return zip(*(words[i:] for i in range(n)), strict=False)


def most_common_count(responses: Sequence[str]) -> int:
    """How often the most common response occurs; 0 without responses."""
    return max(Counter(responses).values(), default=0)


def distinct_n(responses: Sequence[Words], n: int) -> float:
    """Distinct-n of all responses together, in 0..1: distinct n-grams over n-grams; NaN without n-grams.

    Li et al. 2016 (arXiv 1510.03055). It falls with the number of words: apply `match_lengths` first.
    """
    counts = Counter(gram for words in responses for gram in ngrams(words, n))
    return len(counts) / counts.total() if counts else nan


def self_bleu(responses: Sequence[Words]) -> float:
    """Self-BLEU, 0..100: the mean BLEU-4 of each response with all others as references; high means similar.

    Zhu et al. 2018 (arXiv 1802.01886), with every response as hypothesis. The score is sacreBLEU's for sentences with
    effective order and "floor" smoothing (0.1). The n-gram matches of all responses are counted in one pass, since
    calling sacreBLEU for each response takes quadratic time. Empty responses are left out; NaN below two responses.
    """
    from sacrebleu.metrics.bleu import BLEU

    texts = [words for words in responses if words]
    if len(texts) < 2:
        return nan
    matches = [clipped_matches(texts, n) for n in range(1, ORDER + 1)]
    lengths = Counter(map(len, texts))
    scores = [
        BLEU.compute_bleu(
            correct=[order[i] for order in matches],
            total=[max(0, len(words) - n) for n in range(ORDER)],
            sys_len=len(words),
            # the closest length of another response, the shorter of two at the same distance
            ref_len=min(lengths - Counter([len(words)]), key=lambda o: (abs(o - len(words)), o)),
            smooth_method="floor",
            smooth_value=0.1,
            effective_order=True,
        ).score
        for i, words in enumerate(texts)
    ]
    return float(sum(scores) / len(scores))


def clipped_matches(responses: Sequence[Words], n: int) -> list[int]:
    """For each response, its n-grams that another response has, each counted at most as often as in any other."""
    own = [Counter(ngrams(words, n)) for words in responses]
    counts: defaultdict[Ngram, list[int]] = defaultdict(lambda: [0])
    for grams in own:
        for gram, number in grams.items():
            counts[gram].append(number)
    # the second highest count of all responses bounds a count by the highest one of the others
    second = {gram: sorted(numbers)[-2] for gram, numbers in counts.items()}
    return [sum(min(number, second[gram]) for gram, number in grams.items()) for grams in own]


def compression_ratio(responses: Sequence[Words]) -> float:
    """Bytes over bytes after DEFLATE (zlib, level 9) of all responses, one per line; NaN without words.

    Shaib et al. 2024 (arXiv 2403.00553); high means redundant. It rises with the amount of text: apply
    `match_lengths` first. Repetition farther apart than 32 KiB is not seen.
    """
    text = "\n".join(" ".join(words) for words in responses if words).encode()
    return len(text) / len(zlib.compress(text, 9)) if text else nan


def rouge_l(one: Sequence[Words], other: Sequence[Words]) -> list[float]:
    """ROUGE-L F1 (Lin 2004) of each pair of responses, in 0..1; 0 where either is empty."""
    from rouge_score.rouge_scorer import RougeScorer  # slow to import

    words_are_split = SimpleNamespace(tokenize=str.split)  # the tokenizer
    scorer = RougeScorer(["rougeL"], tokenizer=words_are_split)
    pairs = zip(one, other, strict=True)
    return [float(scorer.score(" ".join(a), " ".join(b))["rougeL"].fmeasure) for a, b in pairs]
