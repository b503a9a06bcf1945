"""Alignment of values between tokenizers: byte ends of real tokenizers, sums and means over bytes."""

import gc
import json
from collections.abc import Callable
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

from cme.checkpoints import Checkpoint
from cme.models import chat
from cme.scoring import alignment
from cme.scoring.alignment import Alignment, AlignmentError, align, align_response, sampled_ends, text_ends

Tiny = Callable[..., Checkpoint]

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


def byte_level_prefixed() -> tk.Tokenizer:
    raw = byte_level()
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True, trim_offsets=True)
    raw.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
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


def unigram() -> tk.Tokenizer:
    raw = tk.Tokenizer(models.Unigram())
    raw.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = decoders.Metaspace()
    raw.train_from_iterator(CORPUS, trainers.UnigramTrainer(
        vocab_size=200, special_tokens=SPECIALS, unk_token="<unk>", show_progress=False
    ))  # fmt: skip
    return raw


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
    for make in (byte_level, byte_level_prefixed, sentencepiece, normalized, unigram, word_piece)
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


def test_sides_that_cannot_be_aligned() -> None:
    for mode in ("sum", "mean"):
        with pytest.raises(AlignmentError, match="end at byte 3, the target's at byte 4"):
            align([-1.0], ends_of([3]), ends_of([4]), mode)
        with pytest.raises(AlignmentError, match="no token covers a byte"):
            align([-1.0], ends_of([0]), ends_of([0, 0]), mode)
    with pytest.raises(AlignmentError, match="end at byte 0"):
        align([], ends_of([]), ends_of([4]), "mean")
    with pytest.raises(AlignmentError, match="no token covers a byte"):
        align([-1.0], ends_of([0]), ends_of([]), "sum")
    np.testing.assert_array_equal(align([], ends_of([]), ends_of([0, 0]), "sum"), [0.0, 0.0])
    for source, target, mode, named in (
        ([3], [3], "sum", "values"),
        ([3, 2], [2], "sum", "decrease"),
        ([2, 3], [3], "median", "median"),
    ):
        with pytest.raises(ValueError, match=named):
            align([-1.0, -2.0], ends_of(source), ends_of(target), mode)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_the_end_of_turn_is_mapped_to_the_end_of_turn(mode: Alignment) -> None:
    sources, targets = ends_of([2, 6]), ends_of([3, 6, 6])
    text = align([-1.0, -4.0], sources, targets[:2], mode).tolist()
    for values, source_ended, tokens, target_ended, expected in (
        ([-1.0, -4.0, -9.0], True, 3, True, [*text, -9.0]),
        ([-1.0, -4.0], False, 3, True, [*text, np.nan]),
        ([-1.0, -4.0], False, 2, False, text),
    ):
        found = align_response(
            values, sources, targets[:tokens], source_ended=source_ended, target_ended=target_ended, mode=mode
        )
        np.testing.assert_array_equal(found, expected)
    only_end = align_response(
        [-9.0], ends_of([]), ends_of([0]), source_ended=True, target_ended=True, mode=mode
    )
    np.testing.assert_array_equal(only_end, [-9.0])


def test_tokens_sampled_behind_the_truncated_text_have_no_value() -> None:
    """Of source tokens that end at 2, 5 and 9, two were scored; targets end at 2, 4, 7, 7, 9, then end of turn."""
    for values, source, target, ended, expected in (
        ([-1.0, -4.0], [2, 5, 9], [2, 4, 7, 7, 9, 9], True, [-1.0, -8 / 3, -4 / 3, *[np.nan] * 3]),
        ([], [2], [1, 2], False, [np.nan, np.nan]),
    ):
        found = align_response(
            values, ends_of(source), ends_of(target), source_ended=False, target_ended=ended, mode="sum"
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


def test_families_random_ids(tiny: Tiny, family: str) -> None:
    tokenizer = tiny(family).tokenizer
    random = np.random.default_rng(0)
    for _ in range(100):
        ids = random.integers(0, len(tokenizer) + 3, random.integers(0, 30)).tolist()
        assert_cuts_agree(tokenizer, ids, decoded(tokenizer, ids))


def test_families_reach_one_another(tiny: Tiny, family: str) -> None:
    generator, verifier = tiny(family).tokenizer, tiny("gemma" if family != "gemma" else "qwen").tokenizer
    for text in TEXTS[1:]:
        sampled = [*ids_of(generator, text), chat.end_of_turn_id(generator)]
        text = decoded(generator, sampled)
        ids, ends = text_ends(verifier, text)
        values, targets = -np.arange(1.0, len(ids) + 2), sampled_ends(generator, sampled, text)
        found = align_response(values, ends, targets, source_ended=True, target_ended=True, mode="sum")
        assert found.shape == (len(sampled),) and found[-1] == values[-1]
        np.testing.assert_allclose(found.sum(), values.sum())


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
        ("unigram", ["▁", "a", "▁", "a"], "a a", [0, 1, 2, 3]),
    ],
)
def test_sampled_ids_by_hand(name: str, pieces: list[str], text: str, ends: list[int]) -> None:
    tokenizer = TRAINED[name]
    ids = tokenizer.convert_tokens_to_ids(pieces)
    assert tokenizer.convert_ids_to_tokens(ids) == pieces
    assert decoded(tokenizer, ids) == text
    assert sampled_ends(tokenizer, ids, text).tolist() == ends


def test_a_special_token_in_the_middle_is_empty(tiny: Tiny, family: str) -> None:
    tokenizer = tiny(family).tokenizer
    end = chat.end_of_turn_id(tokenizer)
    a, b = ids_of(tokenizer, "the fox"), ids_of(tokenizer, " is red")
    ends = sampled_ends(tokenizer, [*a, end, *b, end], "the fox is red")
    assert ends[len(a) - 1 : len(a) + 1].tolist() == [7, 7]
    assert ends[-2:].tolist() == [14, 14]


@pytest.mark.parametrize(
    ("name", "text", "ends"),
    [
        # a letter and its combining mark are one after NFC: both are its token's
        ("normalized", "A\u030a", {3}),
        ("normalized", "The", {3}),
        ("byte_level_prefixed", "E\u0301 e", {3, 5}),
        ("unigram", "The  Fox ", {3, 4, 8, 9}),
        ("word_piece", " The  Fox", {4, 9}),
    ],
)
def test_offsets_are_used_where_the_text_is_normalised(name: str, text: str, ends: set[int]) -> None:
    found = text_ends(TRAINED[name], text)[1]
    assert ends <= set(found.tolist())
    assert found[-1] == len(text.encode())


@pytest.mark.parametrize("text", ["Qx", "Fo"])
def test_a_prepended_space_takes_no_character_of_the_text(text: str) -> None:
    tokenizer = TRAINED["normalized"]
    ids, ends = text_ends(tokenizer, text)
    assert tokenizer.convert_ids_to_tokens(ids)[0] == "▁"
    assert ends.tolist()[0] == 0


def test_special_tokens_in_a_verifiers_text_are_text() -> None:
    tokenizer = TRAINED["byte_level"]
    ids, ends = text_ends(tokenizer, "<s>旦</s>")
    assert np.diff(ends, prepend=0).tolist() == list(map(len, tokenizer.convert_ids_to_tokens(ids)))


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


def test_the_cache_drops_a_tokenizer_that_is_deleted() -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_level())
    before = len(alignment._TOKEN_BYTES)
    text_ends(tokenizer, "the fox")
    assert len(alignment._TOKEN_BYTES) == before + 1
    del tokenizer
    gc.collect()
    assert len(alignment._TOKEN_BYTES) == before
