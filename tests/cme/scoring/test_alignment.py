"""Alignment of values between tokenizers: byte ends of real tokenizers, sums and means over bytes."""

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import tokenizers as tk
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast
from verifiers import Tiny

from cme.scoring import alignment
from cme.scoring.alignment import Alignment, AlignmentError, align, align_response, sampled_ends, text_ends

TEXTS = [
    "",
    "the fox is red and lives in the forest.",
    " leading, double  and trailing  spaces ",
    "   ",
    "tabs\tand\n\nnew lines\r\n  indented",
    "café, naïve, Ñandú, ﬁn, 3½",
    "cafe\u0301 a\u0308\u0323 combining \u0301first",
    "emoji 😀👍🏽 and joined 👩\u200d👩\u200d👧 🇫🇷",
    "日本語の文 和 漢字, 한국어",
    "مرحبا بالعالم שלום",
    "invalid \ufffd here \ufffd\ufffd",
    "zero\u200bwidth, nbsp\u00a0, null\x00",
    "Ġ Ċ âĢ <0x41> looks like pieces",
]
CORPUS = [*TEXTS, "the quick brown fox jumps over the lazy dog", "日本語 café 日本語"] * 3
SPECIALS = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def byte_level() -> tk.Tokenizer:
    raw = tk.Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, special_tokens=SPECIALS, show_progress=False
    ))  # fmt: skip
    return raw


def sentencepiece(*normal: normalizers.Normalizer) -> tk.Tokenizer:
    raw = tk.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    raw.normalizer = normalizers.Sequence([*normal, normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    raw.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    words = ["the quick brown fox jumps over the lazy dog", "日本語 café"] * 3
    raw.train_from_iterator(
        words, trainers.BpeTrainer(vocab_size=330, special_tokens=[*SPECIALS, *BYTES], show_progress=False)
    )
    state = json.loads(raw.to_str())  # the trainer makes the bytes special, which decoding would skip
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] not in BYTES]
    return tk.Tokenizer.from_str(json.dumps(state))


def normalized() -> tk.Tokenizer:
    return sentencepiece(normalizers.NFC(), normalizers.Lowercase(), normalizers.Strip())


def word_piece() -> tk.Tokenizer:
    raw = tk.Tokenizer(models.WordPiece(unk_token="<unk>"))
    raw.normalizer = normalizers.BertNormalizer()
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.decoder = decoders.WordPiece()
    raw.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=SPECIALS, show_progress=False)
    )
    return raw


TRAINED = {
    make.__name__: PreTrainedTokenizerFast(
        tokenizer_object=make(), unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    for make in (byte_level, sentencepiece, normalized, word_piece)
}
JOINING = ["byte_level", "sentencepiece"]


def decoded(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True))


def ids_of(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def assert_tiles(ends: np.ndarray, tokens: int, text: str) -> None:
    assert ends.dtype == np.int64 and ends.shape == (tokens,)
    assert all(a <= b for a, b in pairwise([0, *ends.tolist()]))
    assert tokens == 0 or ends[-1] == len(text.encode())


def assert_cuts_agree(tokenizer: PreTrainedTokenizerBase, ids: list[int], text: str) -> None:
    """Wherever decoding the ids in two parts gives the text too, the cut is the end of the first part."""
    ends = sampled_ends(tokenizer, ids, text)
    assert_tiles(ends, len(ids), text)
    for t, end in enumerate(ends.tolist(), start=1):
        first = decoded(tokenizer, ids[:t])
        if first + decoded(tokenizer, ids[t:]) == text:
            assert end == len(first.encode())


def slow_align(values: list[float], source: list[int], target: list[int], mode: Alignment) -> list[float]:
    """Byte by byte; tokens are lists of the bytes they cover."""
    sources = [list(range(a, b)) for a, b in pairwise([0, *source])]
    targets = [list(range(a, b)) for a, b in pairwise([0, *target])]
    result = []
    for j, its in enumerate(targets):
        if mode == "mean":
            position = [max(target[j] - 1, 0)]
            over = [
                v for v, covers in zip(values, sources, strict=True) if set(covers) & set(its or position)
            ]
            result.append(sum(over) / len(over))
            continue
        total = 0.0
        for i, covers in enumerate(sources):
            if covers:
                total += sum(values[i] / len(covers) for byte in covers if byte in its)
            elif max(source[i] - 1, 0) in its:
                total += values[i]
        result.append(total)
    return result


def partitions(length: int) -> st.SearchStrategy[list[int]]:
    """Ends of any tokens, empty ones too, that tile `length` bytes."""
    inner = st.lists(st.integers(0, length), max_size=12)
    return inner.map(lambda cuts: [*sorted(cuts), length])


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[float], list[int], list[int]]:
    length = draw(st.integers(1, 20))
    source, target = draw(partitions(length)), draw(partitions(length))
    value = st.floats(-50, 0, allow_nan=False)
    return draw(st.lists(value, min_size=len(source), max_size=len(source))), source, target


def ends_of(ends: list[int]) -> alignment.Ends:
    return np.array(ends, dtype=np.int64)


@pytest.mark.parametrize("mode", ["sum", "mean"])
@given(case=cases())
def test_alignment_equals_the_byte_by_byte_one(
    mode: Alignment, case: tuple[list[float], list[int], list[int]]
) -> None:
    values, source, target = case
    found = align(values, ends_of(source), ends_of(target), mode)
    assert found.dtype == np.float64 and found.shape == (len(target),)
    np.testing.assert_allclose(found, slow_align(values, source, target, mode), atol=1e-9)
    if mode == "sum":
        np.testing.assert_allclose(found.sum(), sum(values), atol=1e-9)
    kept = np.diff([0, *source]) > 0  # with itself, only empty tokens change
    ends, given_values = ends_of(source)[kept], np.array(values)[kept]
    np.testing.assert_array_equal(align(given_values, ends, ends, mode), given_values)


@pytest.mark.parametrize(
    ("values", "source", "target", "sums", "means"),
    [
        # "abcdef" as ab|cdef for the source, abc|d|(empty)|ef for the target
        ([-1, -4], [2, 6], [3, 4, 4, 6], [-1 - 1, -1, 0, -2], [(-1 - 4) / 2, -4, -4, -4]),
        # source: (empty)|ab|(empty)|c; target: (empty)|a|bc|(empty)
        ([-8, -2, -16, -4], [0, 2, 2, 3], [0, 1, 3, 3], [0, -8 - 1, -1 - 16 - 4, 0], [-2, -2, -3, -4]),
        # a value that is not finite stays where it is
        ([-1, np.nan, -np.inf, -3], [1, 2, 3, 4], [1, 2, 3, 4], *[[-1, np.nan, -np.inf, -3]] * 2),
        (torch.tensor([-1.0, -4.0]), [2, 6], [6], [-5], [-2.5]),
        ([], [], [], [], []),
    ],
)
def test_by_hand(
    values: Any, source: list[int], target: list[int], sums: list[float], means: list[float]
) -> None:
    np.testing.assert_array_equal(align(values, ends_of(source), ends_of(target), "sum"), sums)
    np.testing.assert_array_equal(align(values, ends_of(source), ends_of(target), "mean"), means)


@pytest.mark.parametrize(
    ("values", "source", "target", "mode", "message"),
    [
        ([-1.0], [3], [4], "mean", "end at byte 3, the target's at byte 4"),
        ([], [], [4], "mean", "end at byte 0"),
        ([-1.0], [0], [0, 0], "mean", "no token covers a byte"),
        ([-1.0], [0], [], "sum", "no token covers a byte"),
        ([-1.0, -2.0], [3], [3], "sum", "values"),
        ([-1.0, -2.0], [3, 2], [2], "sum", "decrease"),
        ([-1.0, -2.0], [2, 3], [3], "median", "median"),
    ],
)
def test_sides_that_cannot_be_aligned(
    values: list[float], source: list[int], target: list[int], mode: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        align(values, ends_of(source), ends_of(target), mode)


@pytest.mark.parametrize(
    ("values", "source", "source_ended", "target", "target_ended", "expected"),
    [
        ([-1, -4, -9], [2, 6], True, [3, 6, 6], True, [-2, -3, -9]),
        ([-1, -4], [2, 6], False, [3, 6, 6], True, [-2, -3, np.nan]),
        ([-1, -4], [2, 6], False, [3, 6], False, [-2, -3]),
        ([-9], [], True, [0], True, [-9]),
        # two of three source tokens were scored: what was sampled behind them has no value
        ([-1, -4], [2, 5, 9], False, [2, 4, 7, 7, 9, 9], True, [-1, -8 / 3, -4 / 3, *[np.nan] * 3]),
        ([], [2], False, [1, 2], False, [np.nan, np.nan]),
    ],
)
def test_ends_of_turn_and_truncated_responses(
    values: list[float],
    source: list[int],
    source_ended: bool,
    target: list[int],
    target_ended: bool,
    expected: list[float],
) -> None:
    found = align_response(
        values,
        ends_of(source),
        ends_of(target),
        source_ended=source_ended,
        target_ended=target_ended,
        mode="sum",
    )
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("text", TEXTS)
def test_families_any_text_and_its_samples(tiny: Tiny, family: str, text: str) -> None:
    tokenizer = tiny(family).tokenizer
    ids, ends = text_ends(tokenizer, text)
    assert ids == ids_of(tokenizer, text)
    assert_tiles(ends, len(ids), text)
    if decoded(tokenizer, ids) == text:  # the miniature Gemma's byte tokens are special, so that it may not
        np.testing.assert_array_equal(sampled_ends(tokenizer, ids, text), ends)
    assert_cuts_agree(tokenizer, ids, decoded(tokenizer, ids))


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("text", [*TEXTS, "<s>special</s> tokens <unk> in it", "▁ literal ▁▁"])
def test_trained_tokenizers_any_text(name: str, text: str) -> None:
    tokenizer = TRAINED[name]
    if text and not ids_of(tokenizer, text):
        assert name in ("normalized", "word_piece") and text.isspace()
        with pytest.raises(AlignmentError, match="0 tokens"):
            text_ends(tokenizer, text)
        return
    ids, ends = text_ends(tokenizer, text)
    assert ids == ids_of(tokenizer, text)
    assert_tiles(ends, len(ids), text)
    assert_cuts_agree(tokenizer, ids, decoded(tokenizer, ids))


@pytest.mark.parametrize("name", TRAINED)
@given(data=st.data())
def test_trained_tokenizers_random_ids(name: str, data: st.DataObject) -> None:
    tokenizer = TRAINED[name]
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) + 2), max_size=25))
    assert_cuts_agree(tokenizer, ids, decoded(tokenizer, ids))


@pytest.mark.parametrize("name", JOINING)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁"), max_size=30))
def test_byte_ends_are_exact_where_tokens_spell_the_text(name: str, text: str) -> None:
    """Each token is as wide as its piece, but for the space that `sentencepiece` puts before a text."""
    tokenizer = TRAINED[name]
    ids, ends = text_ends(tokenizer, text)
    assert_tiles(ends, len(ids), text)
    pieces = tokenizer.convert_ids_to_tokens(ids)
    if name == "byte_level":
        widths = [len(piece) for piece in pieces]
    else:
        widths = [1 if piece in BYTES else len(piece.replace("▁", " ").encode()) for piece in pieces]
        widths[:1] = [width - 1 for width in widths[:1]]
    assert np.diff(ends, prepend=0).tolist() == widths


@pytest.mark.parametrize(
    ("name", "pieces", "text", "ends"),
    [
        ("byte_level", ["æ", "Ĺ", "¥"], "日", [1, 2, 3]),
        ("byte_level", ["æ", "</s>", "Ĺ", "¥", "</s>"], "日", [1, 1, 2, 3, 3]),
        ("byte_level", ["æ", "Ĺ", "a"], "\ufffda", [1, 3, 4]),  # two bytes that begin a character
        ("byte_level", ["a", "Ĺ", "¥", "Ġ"], "a\ufffd\ufffd ", [1, 4, 7, 8]),
        ("byte_level", ["æ", "æ", "Ĺ", "¥"], "\ufffd日", [3, 4, 5, 6]),
        ("sentencepiece", ["<0xE6>", "<0x97>", "<0xA5>"], "日", [1, 2, 3]),
        ("sentencepiece", ["<s>", "▁", "<0xE6>", "</s>", "<0x97>", "<0xA5>"], "日", [0, 0, 1, 1, 2, 3]),
        ("sentencepiece", ["<0xE6>", "<0x97>", "a"], "\ufffd\ufffda", [3, 6, 7]),
        ("sentencepiece", ["<0x41>", "<0x80>", "▁", "<0x41>"], "\ufffd\ufffd A", [3, 6, 7, 8]),
        ("sentencepiece", ["▁", "▁", "a", "▁"], " a ", [0, 1, 2, 3]),
    ],
)
def test_sampled_ids_by_hand(name: str, pieces: list[str], text: str, ends: list[int]) -> None:
    tokenizer = TRAINED[name]
    ids = tokenizer.convert_tokens_to_ids(pieces)
    assert tokenizer.convert_ids_to_tokens(ids) == pieces
    assert decoded(tokenizer, ids) == text
    assert sampled_ends(tokenizer, ids, text).tolist() == ends


@pytest.mark.parametrize(
    ("name", "text", "ends"),
    [
        # a letter and its combining mark are one after NFC: both are its token's
        ("normalized", "A\u030a", {3}),
        ("normalized", "The", {3}),
        ("word_piece", " The  Fox", {4, 9}),
        ("normalized", "Qx", {0}),  # the space that is put before the text takes none of its characters
    ],
)
def test_offsets_are_used_where_the_text_is_normalised(name: str, text: str, ends: set[int]) -> None:
    found = text_ends(TRAINED[name], text)[1]
    assert ends <= set(found.tolist())
    assert found[-1] == len(text.encode())


def test_ids_of_another_text_are_refused(tiny: Tiny, family: str) -> None:
    tokenizer = tiny(family).tokenizer
    ids = ids_of(tokenizer, "the fox is red")
    with pytest.raises(
        AlignmentError, match=r"up to token \d+ \(id \d+\) .* at byte 8, where the text has 'was'"
    ):
        sampled_ends(tokenizer, ids, "the fox was")
    for text in ("the fox is red and", "the fox is re", "xthe fox is red", ""):
        with pytest.raises(AlignmentError, match="decode to"):
            sampled_ends(tokenizer, ids, text)
    with pytest.raises(AlignmentError, match="all 0 sampled ids"):
        sampled_ends(tokenizer, [], "the")


def test_families_random_ids(tiny: Tiny, family: str) -> None:
    tokenizer = tiny(family).tokenizer
    random = np.random.default_rng(0)
    for _ in range(100):
        ids = random.integers(0, len(tokenizer) + 3, random.integers(0, 30)).tolist()
        assert_cuts_agree(tokenizer, ids, decoded(tokenizer, ids))


def test_special_tokens_in_a_verifiers_text_are_text() -> None:
    tokenizer = TRAINED["byte_level"]
    ids, ends = text_ends(tokenizer, "<s>旦</s>")
    assert np.diff(ends, prepend=0).tolist() == list(map(len, tokenizer.convert_ids_to_tokens(ids)))
