"""What a set of responses looks like: length, diversity and likeness. Pure functions of words, standard library only.

Words are as `repetition` has them in training: lower case, letters, digits and underscores; marks are left out.
"""

import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from math import exp, log, nan

Words = Sequence[str]
Gram = tuple[str, ...]

ORDER = 4  # the longest n-grams of BLEU
FLOOR = 0.1  # n-grams that count as found where none is


def split_words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return re.findall(r"\w+", text.lower())


def match_lengths(one: Sequence[Words], other: Sequence[Words]) -> tuple[list[Words], list[Words]]:
    """Two sets of responses to the same prompts, each pair cut to the words that its shorter response has.

    Then both sets have as many words and n-grams, prompt by prompt, and differ in what these are alone: of the very
    same kind of text, distinct-n falls and compression rises with its length, and BLEU moves too.
    """
    lengths = [min(len(a), len(b)) for a, b in zip(one, other, strict=True)]
    return [a[:n] for a, n in zip(one, lengths, strict=True)], [
        b[:n] for b, n in zip(other, lengths, strict=True)
    ]


def grams(words: Words, n: int) -> Iterator[Gram]:
    """The n-grams of a response in their order, none of a shorter one."""
    return zip(*(words[i:] for i in range(n)), strict=False)


def distinct_n(responses: Sequence[Words], n: int) -> float:
    """Distinct-n: distinct n-grams over n-grams, in 0..1, of all responses together; NaN without n-grams.

    Li et al. 2016 (arXiv 1510.03055). It falls with the number of words, so compare sets that are `matched`.
    """
    found = Counter(gram for words in responses for gram in grams(words, n))
    return len(found) / found.total() if found else nan


def self_bleu(responses: Sequence[Words]) -> float:
    """Self-BLEU: the mean BLEU of each response with all others as its references, 0..100; high is alike.

    Zhu et al. 2018 (arXiv 1802.01886), with every response as hypothesis. BLEU-4 (Papineni et al. 2002) as sacreBLEU
    has it for sentences: clipped precisions of the orders that a response is long enough for, FLOOR for those without
    a match ("floor" smoothing), the brevity penalty by the closest length, 0 without any match. Empty responses are
    left out; NaN below two.
    """
    spoken = [words for words in responses if words]
    if len(spoken) < 2:
        return nan
    found = [clipped(spoken, n) for n in range(1, ORDER + 1)]
    lengths = Counter(map(len, spoken))
    return sum(
        bleu([order[i] for order in found], len(words), closest(lengths, len(words)))
        for i, words in enumerate(spoken)
    ) / len(spoken)


def clipped(responses: Sequence[Words], n: int) -> list[int]:
    """For each response, its n-grams that some other response has, counted as often as any one has it at most."""
    counts = [Counter(grams(words, n)) for words in responses]
    most: dict[Gram, tuple[int, int]] = {}  # the highest count and whose it is
    second: Counter[Gram] = Counter()  # the highest count of anyone else
    for i, own in enumerate(counts):
        for gram, count in own.items():
            before, _ = most.get(gram, (0, i))
            if count > before:
                most[gram], second[gram] = (count, i), before
            elif count > second[gram]:
                second[gram] = count
    return [
        sum(min(count, second[gram] if most[gram][1] == i else most[gram][0]) for gram, count in own.items())
        for i, own in enumerate(counts)
    ]


def closest(lengths: Counter[int], own: int) -> int:
    """The length of another response that is closest to a response's own, the shorter of two as close."""
    if lengths[own] > 1:
        return own
    return min((other for other in lengths if other != own), key=lambda other: (abs(other - own), other))


def bleu(matches: Sequence[int], length: int, reference: int) -> float:
    """BLEU of one response from its clipped matches by order, its length and its reference's; 0..100."""
    if not any(matches):
        return 0.0
    precisions = [(m or FLOOR) / (length - n) for n, m in enumerate(matches) if length > n]
    brevity = min(1.0, exp(1 - reference / length))
    return 100 * brevity * exp(sum(map(log, precisions)) / len(precisions))


def compression_ratio(responses: Sequence[Words]) -> float:
    """Compression ratio: bytes over bytes after DEFLATE (zlib, level 9) of all responses, a line each; NaN if empty.

    Shaib et al. 2024 (arXiv 2403.00553); high is redundant. It rises with the amount of text, so compare sets that are
    `matched`; repetition farther apart than 32 KiB is not seen.
    """
    text = "\n".join(" ".join(words) for words in responses if words).encode()
    return len(text) / len(zlib.compress(text, 9)) if text else nan


def rouge_l(one: Words, other: Words) -> float:
    """ROUGE-L F1 of two responses, in 0..1: twice their longest common subsequence over the sum of their lengths.

    Lin 2004, with precision and recall weighing the same: so it is symmetric. 0 where either is empty.
    """
    if not one or not other:
        return 0.0
    return 2 * common_subsequence(one, other) / (len(one) + len(other))


def common_subsequence(one: Words, other: Words) -> int:
    """Length of the longest common subsequence, a bit a word of `one` (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for i, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << i
    row = everything = (1 << len(one)) - 1
    for word in other:
        met = row & places.get(word, 0)
        row = ((row + met) | (row - met)) & everything
    return len(one) - row.bit_count()
