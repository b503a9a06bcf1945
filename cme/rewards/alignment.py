"""Values per token of one tokenizer mapped onto the tokens of another, through the bytes of one text.

'Dense' CME (arXiv 2605.29009) rewards each token of the generator with the verifier's log-likelihood of the
characters it covers. Here every position is a byte of the text's UTF-8, so that the tokens of a character
split over several stay apart. Tokens tile the text: token i covers [ends[i-1], ends[i]) and may be empty.
"""

import json
import re
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal, cast
from unicodedata import combining
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ends = npt.NDArray[np.int64]
"""Nondecreasing byte ends of T tokens, (T,)."""
Mode = Literal["sum", "mean"]

_PRINTED = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_UNPRINTED = [byte for byte in range(256) if byte not in _PRINTED]
_BYTE_OF = dict(zip(map(chr, [*_PRINTED, *range(256, 324)]), [*_PRINTED, *_UNPRINTED], strict=True))
"""GPT-2's byte table: the character by which a byte-level vocabulary writes each byte."""
_FALLBACK = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_REPLACEMENT = "\ufffd"
_JOINING_STEPS = {"Replace", "ByteFallback", "Fuse", "Metaspace", "Strip"}


class AlignmentError(ValueError):
    """Tokens and text cannot be laid over each other; the message says what differs, and where."""


def sampled_ends(tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int], text: str) -> Ends:
    """Byte ends (T,) in `text` of sampled ids that decode to it; special tokens, which that skips, are empty.

    They need not be the text's canonical tokens, nor valid UTF-8: the tokens that share one U+FFFD share its
    bytes. A leading space which decoding strips belongs to no token. Raises Misaligned where the ids do not
    decode to `text`, or where a later token changes more of it than U+FFFD or a space.
    """
    pieces = _pieces_of(tokenizer)
    found = None if pieces is None else pieces.ends(ids, text.encode(), skip_special=True)
    return _decoded_ends(tokenizer, ids, text) if found is None else found


def text_ends(tokenizer: "PreTrainedTokenizerBase", text: str) -> tuple[list[int], Ends]:
    """Ids (n,) of the text tokenized by itself and their byte ends (n,); special tokens in it are text.

    Where the tokenizer normalizes the text away from its tokens, the ends are those of the offset mapping:
    then tokens of one character divide it evenly, and what no token covers goes to the next (combining marks
    to the one before, the text's end to the last). Raises Misaligned if that is needed and there is no
    mapping, or no token at all.
    """
    encoded = tokenizer(
        text,
        add_special_tokens=False,
        split_special_tokens=True,
        return_offsets_mapping=bool(tokenizer.is_fast),
    )
    ids, raw = cast("list[int]", encoded["input_ids"]), text.encode()
    pieces = _pieces_of(tokenizer)
    found = None if pieces is None else pieces.ends(ids, raw, skip_special=False)
    if found is not None:
        return ids, found
    if not text:
        return ids, np.zeros(len(ids), dtype=np.int64)
    if not ids or not tokenizer.is_fast:
        raise AlignmentError(
            f"the tokenizer of {tokenizer.name_or_path} gives {len(ids)} tokens and no offsets "
            f"for the {len(raw)} bytes of {text[:40]!r}"
        )
    return ids, _mapped_ends(text, encoded["offset_mapping"])


def align(values: npt.ArrayLike, source_ends: Ends, target_ends: Ends, mode: Mode) -> npt.NDArray[np.float64]:
    """Values (n,) of the source's tokens, nats, as values (m,) of the target's, over the same bytes.

    "sum" keeps the total: a value is spread over the target's tokens by the bytes they share, and that of an
    empty token goes to the target's token at its position. "mean" (the paper's): the plain mean of the tokens
    that share a byte; an empty target token gets the value at its position. The token at a position is that
    of the byte before it, at the beginning that of the first byte. Raises Misaligned where the sides end at
    different bytes or there are no bytes to go by, ValueError for values or ends that are none.
    """
    given = np.asarray(values, dtype=np.float64)
    widths, target_widths = np.diff(source_ends, prepend=0), np.diff(target_ends, prepend=0)
    if given.shape != widths.shape or (widths < 0).any() or (target_widths < 0).any():
        raise ValueError(f"{given.shape} values of {widths.shape} tokens, or ends that decrease")
    if mode not in ("sum", "mean"):
        raise ValueError(f"mode is sum or mean, not {mode!r}")
    length, covered, m = int(widths.sum()), int(target_widths.sum()), len(target_widths)
    if length != covered:
        raise AlignmentError(f"the source's tokens end at byte {length}, the target's at byte {covered}")
    if not length and (len(given) if mode == "sum" else m):
        raise AlignmentError(f"{len(given)} values cannot be laid on {m} tokens: neither covers a byte")
    source, target, shared = _overlaps(source_ends, target_ends)
    if mode == "sum":
        empty = widths == 0
        target = np.concatenate([target, _holders(target_ends, source_ends[empty])])
        spread = np.concatenate([given[source] * (shared / widths[source]), given[empty]])
        return np.bincount(target, spread, minlength=m).astype(np.float64)
    counts = np.bincount(target, minlength=m)
    result = np.bincount(target, given[source], minlength=m) / np.maximum(counts, 1)
    empty = counts == 0
    result[empty] = given[_holders(source_ends, target_ends[empty])]
    return result


def align_response(
    values: npt.ArrayLike,
    source_ends: Ends,
    target_ends: Ends,
    *,
    source_ended: bool,
    target_ended: bool,
    mode: Mode,
) -> npt.NDArray[np.float64]:
    """Values (n,) of a response's scored tokens on the tokens (m,) that were sampled; NaN where there is none.

    `source_ended` and `target_ended` say that the last token is the end of turn; those two are mapped onto
    each other, the others by their text. `source_ends` and `target_ends` are byte ends of the whole text's tokens,
    of which only the first n may have been scored: what was sampled behind them gets NaN, and so does a
    sampled end of turn where none was scored.
    """
    given = np.asarray(values, dtype=np.float64)
    text, targets = given[: len(given) - source_ended], target_ends[: len(target_ends) - target_ended]
    sources = source_ends[: len(text)]
    carried = np.full(len(targets), np.nan)
    if len(text) and len(targets):
        read = sources[-1]  # bytes
        carried = align(text, sources, np.minimum(targets, read), mode)
        carried[(np.append(0, targets[:-1]) >= read) & (targets > read)] = np.nan
    return np.append(carried, given[-1] if source_ended else np.nan) if target_ended else carried


def _overlaps(source_ends: Ends, target_ends: Ends) -> tuple[Ends, Ends, Ends]:
    """Source token, target token and shared bytes, (K,) each, of all K <= n+m pairs that share a byte."""
    cuts = np.union1d(source_ends, target_ends)
    cuts = cuts[cuts > 0]
    starts = np.concatenate([[0], cuts])[: len(cuts)]
    source = np.searchsorted(source_ends, starts, side="right")
    return source, np.searchsorted(target_ends, starts, side="right"), cuts - starts


def _holders(ends: Ends, positions: Ends) -> Ends:
    """Tokens (K,) that hold the byte before each position (K,), at the beginning the first byte."""
    return np.searchsorted(ends, np.maximum(positions - 1, 0), side="right")


class _Pieces(dict[int, bytes]):
    """Bytes each token id stands for under one tokenizer's decoder, found on first use."""

    def __init__(self, backend: Any, steps: list[dict[str, Any]]) -> None:
        super().__init__()
        self.backend = backend
        self.specials = {i for i, token in backend.get_added_tokens_decoder().items() if token.special}
        self.byte_level = steps[0]["type"] == "ByteLevel"
        self.fallback = any(step["type"] == "ByteFallback" for step in steps)
        self.replaced = [(s["pattern"]["String"], s["content"]) for s in steps if s["type"] == "Replace"]
        self.replaced += [(s["replacement"], " ") for s in steps if s["type"] == "Metaspace"]

    def __missing__(self, token_id: int) -> bytes:
        token = str(self.backend.id_to_token(token_id) or "")
        if self.byte_level and set(token) <= _BYTE_OF.keys():
            piece = bytes(_BYTE_OF[character] for character in token)
        elif self.is_byte(token_id):
            piece = bytes([int(token[3:5], 16)])
        else:
            for pattern, content in self.replaced:
                token = token.replace(pattern, content)
            piece = token.encode()
        self[token_id] = piece
        return piece

    def is_byte(self, token_id: int) -> bool:
        """Whether the token is one byte of a character outside the vocabulary, written `<0xNN>`."""
        return self.fallback and bool(_FALLBACK.fullmatch(self.backend.id_to_token(token_id) or ""))

    def ends(self, ids: Sequence[int], text: bytes, skip_special: bool) -> Ends | None:
        """Byte ends (T,) of the ids in `text`, or None where their pieces do not join to it."""
        skipped = self.specials if skip_special else set()
        pieces = [b"" if i in skipped else self[i] for i in ids]
        raw, ends = b"".join(pieces), np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
        if (found := _fitted(raw, ends, text)) is not None:
            return found
        if self.byte_level:
            return _fitted(_lossy(raw), _lossy_positions(raw)[ends], text)
        kept = [t for t, piece in enumerate(pieces) if piece]
        for is_byte, group in groupby(kept, key=lambda t: self.is_byte(ids[t])):
            run = list(group)
            spelled = b"".join(pieces[t] for t in run)
            if is_byte and spelled != _lossy(spelled):
                # Where a run of bytes is not valid as a whole, ByteFallback writes U+FFFD for each of them
                for t in run:
                    pieces[t] = _REPLACEMENT.encode()
        return _fitted(b"".join(pieces), np.cumsum([len(piece) for piece in pieces], dtype=np.int64), text)


_CACHE: "WeakKeyDictionary[PreTrainedTokenizerBase, _Pieces | None]" = WeakKeyDictionary()


def _pieces_of(tokenizer: "PreTrainedTokenizerBase") -> _Pieces | None:
    """The tokenizer's pieces, kept as long as it is; None where its decoder does more than join them."""
    if tokenizer not in _CACHE:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        decoder = getattr(backend, "decoder", None)
        state = {"type": "none"} if decoder is None else json.loads(decoder.__getstate__())
        steps = state.get("decoders", [state])
        types = {step["type"] for step in steps}
        joins = types == {"ByteLevel"} or (
            types <= _JOINING_STEPS and all("String" in s["pattern"] for s in steps if s["type"] == "Replace")
        )
        _CACHE[tokenizer] = _Pieces(backend, steps) if steps and joins else None
    return _CACHE[tokenizer]


def _fitted(decoded: bytes, ends: Ends, text: bytes) -> Ends | None:
    """The ends less the leading spaces which `text` lacks; None where the two differ in anything else."""
    extra = len(decoded) - len(text)
    if extra < 0 or decoded[extra:] != text or decoded[:extra].strip(b" "):
        return None
    return np.maximum(ends - extra, 0)


def _lossy(raw: bytes) -> bytes:
    return raw.decode(errors="replace").encode()


def _lossy_positions(raw: bytes) -> Ends:
    """Where each of the L+1 boundaries of the raw bytes lies in `_lossy(raw)`; a U+FFFD is divided evenly."""
    widths, at = np.ones(len(raw) + 1, dtype=np.int64), 0
    widths[0] = 0
    while True:
        try:
            raw[at:].decode()
        except UnicodeDecodeError as error:
            inside = np.arange(error.end - error.start + 1) * 3 // (error.end - error.start)
            widths[at + error.start + 1 : at + error.end + 1] = np.diff(inside)
            at += error.end
        else:
            return np.cumsum(widths)


def _mapped_ends(text: str, offsets: list[tuple[int, int]]) -> Ends:
    """Byte ends (T,), T > 0, from spans of characters, which may share characters or leave some out."""
    at = np.cumsum([0, *(len(character.encode()) for character in text)], dtype=np.int64)
    after = at.copy()
    for i in reversed([i for i, character in enumerate(text) if combining(character)]):
        after[i] = after[i + 1]  # NFC leaves a mark that it joins to a letter out of the letter's span
    begins, ends_before = np.array(offsets, dtype=np.int64).T
    starts, stops = at[begins], after[ends_before]
    fresh = (np.diff(starts, prepend=-1) != 0) | (np.diff(stops, prepend=-1) != 0)
    first = np.flatnonzero(fresh)
    group = np.cumsum(fresh) - 1
    sizes = np.diff(first, append=len(starts))[group]
    ends = starts + (stops - starts) * (np.arange(len(starts)) - first[group] + 1) // sizes
    # A `▁` put before a word may claim the word's first character
    claimed = np.append(fresh[1:] & (starts[1:] >= starts[:-1]), False)
    ends[claimed] = np.minimum(ends, np.roll(starts, -1))[claimed]
    ends[-1] = at[-1]
    return np.maximum.accumulate(ends)


def _decoded_ends(tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int], text: str) -> Ends:
    """Byte ends (T,) from decoding every prefix: a byte belongs to the first token after which it stays."""
    agreed, prefix = np.zeros(len(ids) + 1, dtype=np.int64), ""
    for t in range(len(ids)):
        prefix = str(tokenizer.decode(list(ids[: t + 1]), skip_special_tokens=True))
        differs = (i for i, (a, b) in enumerate(zip(prefix, text, strict=False)) if a != b)
        common = next(differs, min(len(prefix), len(text)))
        agreed[t + 1] = len(text[:common].encode())
        if prefix[common:].strip(_REPLACEMENT + " "):
            raise AlignmentError(
                f"up to token {t} (id {ids[t]}) the sampled ids decode to {prefix[common:][:20]!r} "
                f"at byte {agreed[t + 1]}, where the text has {text[common:][:20]!r}"
            )
    if prefix != text:
        raise AlignmentError(
            f"all {len(ids)} sampled ids decode to {prefix[-20:]!r} at the end, not {text[-20:]!r}"
        )
    return np.minimum.accumulate(agreed[:0:-1])[::-1]
