"""Mapping of values per token from one tokenizer's tokens to another's, through the bytes of the text that they share.

"Dense" CME (arXiv 2605.29009) rewards each token of the policy with the verifier's log-likelihood of the characters
that the token covers. Here a position is a byte of the text's UTF-8, so that several tokens of one character stay
distinct. Tokens tile the text: token i covers bytes [ends[i-1], ends[i]) and may be empty.
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

Alignment = Literal["mean", "sum"]
Ends = npt.NDArray[np.int64]
"""Nondecreasing byte ends of T tokens, (T,)."""

_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
_BYTE_BY_CHARACTER = dict(
    zip(map(chr, [*_PRINTABLE, *range(256, 324)]), [*_PRINTABLE, *_OTHERS], strict=True)
)
"""GPT-2's byte table: the byte that each character of a byte-level vocabulary stands for."""
_FALLBACK = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_REPLACEMENT = "\ufffd"
_JOINING_STEPS = {"Replace", "ByteFallback", "Fuse", "Metaspace", "Strip"}


class AlignmentError(ValueError):
    """Tokens and text do not agree; the message says what differs and where."""


def sampled_ends(tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int], text: str) -> Ends:
    """Byte ends (T,) in `text` of sampled ids that decode to it. Special tokens, which decoding skips, are empty.

    The ids need not be the text's canonical tokens, nor valid UTF-8: tokens that share one U+FFFD share its bytes. A
    leading space that decoding strips belongs to no token. Raises AlignmentError where the ids do not decode to `text`,
    or where a later token changes more of the text before it than U+FFFD or a space.
    """
    pieces = _token_bytes(tokenizer)
    ends = None if pieces is None else pieces.ends(ids, text.encode(), skip_special=True)
    return _ends_from_prefixes(tokenizer, ids, text) if ends is None else ends


def text_ends(tokenizer: "PreTrainedTokenizerBase", text: str) -> tuple[list[int], Ends]:
    """Ids (n,) of the tokenized text and their byte ends (n,). Special tokens that the text spells out count as text.

    If the tokenizer normalises the text, so that the tokens do not spell it, the ends come from the offset mapping.
    Then the tokens of one character divide it evenly, and characters that no token covers go to the next token
    (combining marks to the token before, the text's end to the last). Raises AlignmentError where the mapping is needed
    and the tokenizer has none, or gives no token at all.
    """
    encoded = tokenizer(
        text,
        add_special_tokens=False,
        split_special_tokens=True,
        return_offsets_mapping=bool(tokenizer.is_fast),
    )
    ids, raw = cast("list[int]", encoded["input_ids"]), text.encode()
    pieces = _token_bytes(tokenizer)
    ends = None if pieces is None else pieces.ends(ids, raw, skip_special=False)
    if ends is not None:
        return ids, ends
    if not text:
        return ids, np.zeros(len(ids), dtype=np.int64)
    if not ids or not tokenizer.is_fast:
        raise AlignmentError(
            f"the tokenizer of {tokenizer.name_or_path} gives {len(ids)} tokens and no offsets "
            f"for the {len(raw)} bytes of {text[:40]!r}"
        )
    return ids, _ends_from_offsets(text, encoded["offset_mapping"])


def align(
    values: npt.ArrayLike, source_ends: Ends, target_ends: Ends, mode: Alignment
) -> npt.NDArray[np.float64]:
    """Map the values (n,) of the source's tokens, in nats, to the target's tokens (m,) over the same bytes.

    "sum" keeps the total: a value is spread over the target's tokens in proportion to the bytes that they share, and
    the value of an empty token goes to the target's token at its position. "mean" is the paper's rule: each target
    token gets the mean of the source tokens that share a byte with it, and an empty one the value at its position. The
    token at a position is the one that has the byte before it; at the beginning, the one that has the first byte.

    Raises AlignmentError where the two sides end at different bytes or have no bytes, ValueError for values and ends
    that do not fit together and for an unknown mode.
    """
    given = np.asarray(values, dtype=np.float64)
    widths, target_widths = np.diff(source_ends, prepend=0), np.diff(target_ends, prepend=0)
    if given.shape != widths.shape or (widths < 0).any() or (target_widths < 0).any():
        raise ValueError(f"there are {given.shape} values for {widths.shape} tokens, or the ends decrease")
    if mode not in ("sum", "mean"):
        raise ValueError(f"mode={mode!r}; it must be sum or mean")
    length, covered, m = int(widths.sum()), int(target_widths.sum()), len(target_widths)
    if length != covered:
        raise AlignmentError(f"the source's tokens end at byte {length}, the target's at byte {covered}")
    if not length and (len(given) if mode == "sum" else m):
        raise AlignmentError(f"{len(given)} values cannot be mapped to {m} tokens: no token covers a byte")
    cuts = np.union1d(source_ends, target_ends)
    cuts = cuts[cuts > 0]
    starts = np.concatenate([[0], cuts])[: len(cuts)]
    # source token, target token and shared bytes of the K <= n+m pairs of tokens that share a byte
    source, target = (np.searchsorted(ends, starts, side="right") for ends in (source_ends, target_ends))
    shared = cuts - starts
    if mode == "sum":
        empty = widths == 0
        target = np.concatenate([target, _tokens_at(target_ends, source_ends[empty])])
        spread = np.concatenate([given[source] * (shared / widths[source]), given[empty]])
        return np.bincount(target, spread, minlength=m).astype(np.float64)
    counts = np.bincount(target, minlength=m)
    result = np.bincount(target, given[source], minlength=m) / np.maximum(counts, 1)
    empty = counts == 0
    result[empty] = given[_tokens_at(source_ends, target_ends[empty])]
    return result


def align_response(
    values: npt.ArrayLike,
    source_ends: Ends,
    target_ends: Ends,
    *,
    source_ended: bool,
    target_ended: bool,
    mode: Alignment,
) -> npt.NDArray[np.float64]:
    """Map the values (n,) of a response's scored tokens to the sampled tokens (m,); NaN for a token without a value.

    Args:
        values: one value per scored token, in nats. If the response was truncated, only its first n tokens are scored.
        source_ends: byte ends of all tokens of the text in the verifier's tokenizer.
        target_ends: byte ends of the sampled tokens.
        source_ended, target_ended: whether the last token is the end of turn. The two ends of turn are mapped to each
            other, the other tokens by their text.
        mode: as in `align`.

    Tokens sampled behind the scored text get NaN, and so does a sampled end of turn if none was scored.
    """
    given = np.asarray(values, dtype=np.float64)
    text, targets = given[: len(given) - source_ended], target_ends[: len(target_ends) - target_ended]
    sources = source_ends[: len(text)]
    mapped = np.full(len(targets), np.nan)
    if len(text) and len(targets):
        scored = sources[-1]  # bytes
        mapped = align(text, sources, np.minimum(targets, scored), mode)
        mapped[(np.append(0, targets[:-1]) >= scored) & (targets > scored)] = np.nan
    return np.append(mapped, given[-1] if source_ended else np.nan) if target_ended else mapped


def _tokens_at(ends: Ends, positions: Ends) -> Ends:
    """Tokens (K,) that have the byte before each position (K,), or at the beginning the first byte."""
    return np.searchsorted(ends, np.maximum(positions - 1, 0), side="right")


class _TokenBytes(dict[int, bytes]):
    """The bytes that each token id stands for under one tokenizer's decoder, computed on first use."""

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
        if self.byte_level and set(token) <= _BYTE_BY_CHARACTER.keys():
            piece = bytes(_BYTE_BY_CHARACTER[character] for character in token)
        elif self.is_byte(token_id):
            piece = bytes([int(token[3:5], 16)])
        else:
            for pattern, content in self.replaced:
                token = token.replace(pattern, content)
            piece = token.encode()
        self[token_id] = piece
        return piece

    def is_byte(self, token_id: int) -> bool:
        """Whether the token is one byte, written `<0xNN>`, of a character outside the vocabulary."""
        return self.fallback and bool(_FALLBACK.fullmatch(self.backend.id_to_token(token_id) or ""))

    def ends(self, ids: Sequence[int], text: bytes, skip_special: bool) -> Ends | None:
        """Byte ends (T,) of the ids in `text`, or None if their bytes do not join to the text."""
        skipped = self.specials if skip_special else set()
        pieces = [b"" if i in skipped else self[i] for i in ids]
        raw, ends = b"".join(pieces), np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
        if (fitted := _match_text(raw, ends, text)) is not None:
            return fitted
        if self.byte_level:
            return _match_text(_replace_invalid(raw), _positions_after_replacing(raw)[ends], text)
        kept = [t for t, piece in enumerate(pieces) if piece]
        for is_byte, group in groupby(kept, key=lambda t: self.is_byte(ids[t])):
            run = list(group)
            spelled = b"".join(pieces[t] for t in run)
            if is_byte and spelled != _replace_invalid(spelled):
                # ByteFallback writes U+FFFD for each byte of a run that is not valid as a whole
                for t in run:
                    pieces[t] = _REPLACEMENT.encode()
        return _match_text(
            b"".join(pieces), np.cumsum([len(piece) for piece in pieces], dtype=np.int64), text
        )


_TOKEN_BYTES: "WeakKeyDictionary[PreTrainedTokenizerBase, _TokenBytes | None]" = WeakKeyDictionary()


def _token_bytes(tokenizer: "PreTrainedTokenizerBase") -> _TokenBytes | None:
    """The bytes of the tokenizer's tokens, kept as long as the tokenizer; None if its decoder does more than join."""
    if tokenizer not in _TOKEN_BYTES:
        backend: Any = tokenizer.backend_tokenizer if tokenizer.is_fast else None
        decoder = None if backend is None else backend.decoder
        state = {"type": "none"} if decoder is None else json.loads(decoder.__getstate__())
        steps = state.get("decoders", [state])
        types = {step["type"] for step in steps}
        joins = types == {"ByteLevel"} or (
            types <= _JOINING_STEPS and all("String" in s["pattern"] for s in steps if s["type"] == "Replace")
        )
        _TOKEN_BYTES[tokenizer] = _TokenBytes(backend, steps) if steps and joins else None
    return _TOKEN_BYTES[tokenizer]


def _match_text(decoded: bytes, ends: Ends, text: bytes) -> Ends | None:
    """The ends, without leading spaces that `text` lacks; None if the texts differ in anything else."""
    extra = len(decoded) - len(text)
    if extra < 0 or decoded[extra:] != text or decoded[:extra].strip(b" "):
        return None
    return np.maximum(ends - extra, 0)


def _replace_invalid(raw: bytes) -> bytes:
    return raw.decode(errors="replace").encode()


def _positions_after_replacing(raw: bytes) -> Ends:
    """The positions in `_replace_invalid(raw)` of the L+1 boundaries of the raw bytes; a U+FFFD is divided evenly."""
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


def _ends_from_offsets(text: str, offsets: list[tuple[int, int]]) -> Ends:
    """Byte ends (T,), T > 0, from character spans, which may overlap or leave characters out."""
    at = np.cumsum([0, *(len(character.encode()) for character in text)], dtype=np.int64)
    after = at.copy()
    for i in reversed([i for i, character in enumerate(text) if combining(character)]):
        after[i] = after[i + 1]  # NFC leaves a mark that it joins to a letter outside of the letter's span
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


def _ends_from_prefixes(tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int], text: str) -> Ends:
    """Byte ends (T,) from decoding every prefix: a byte belongs to the first token after which it does not change."""
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
