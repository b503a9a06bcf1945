"""Outputs and verdicts that were made elsewhere, as records.

Outputs are in AlpacaEval's format. A file of verdicts is in the format released with arXiv 2605.29009: `label_a`,
`label_b` and a list `per_sample` of {index, instruction, order_shown, verdict, winner, reason}. A row may also have
`length_a` and `length_b`, the characters of the outputs judged, and `digest_a` and `digest_b`, the SHA-256 of their
text. A file is refused if one of them does not fit, or if most of its verdicts are on other instructions.

A failed call is a tie there, with the reason "(judge error: ...)"; here it is unscored. The format has no other mark of
a failure, so a tie with another reason, such as "API error: ...", counts as a tie. A verdict or winner that is empty or
unknown, or a verdict that contradicts the winner, is unscored too. Prompts that only one file of outputs has, and
verdicts on other texts than the outputs', are counted and named, and never dropped silently.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cme.data.alpaca_format import BadOutputs, Row, read_outputs
from cme.judges.base import replace_surrogates
from cme.records import Generation, Outcome, Pair, RunRecord, Verdict, read_json
from experiments.config.identity import digest

SCALE = "imported"
CUT = 200
"""Characters of an instruction that a file of verdicts repeats."""
FAILED = "(judge error"
"""How the reason of a failed call begins; the format has no other mark of one."""
OTHER_INSTRUCTION = "the verdict is on another instruction than the outputs'"
OUTCOMES: dict[str, Outcome] = {"A": "first", "B": "second", "TIE": "tie"}
FILE_FIELDS = {"label_a", "label_b", "per_sample"}
ROW_FIELDS = ("index", "instruction", "order_shown", "verdict", "winner", "reason")
LONGEST_SLUG = 120
"""Characters of a run id before its digest: the names of files begin with it, and have at most 255 bytes."""
SHOWN = 5
"""Number of prompts or reasons that a warning shows."""


@dataclass(frozen=True)
class Outputs:
    """Two files of outputs side by side: the names of start and policy, and of the models that made them."""

    labels: tuple[str, str]
    generators: tuple[str, str]
    pairs: list[Pair]
    warnings: list[str]

    @property
    def makers(self) -> list[str]:
        """The distinct models that made the outputs, by the rows of both files."""
        return sorted({name for names in self.generators for name in names.split(", ")})


def read_pairs(start: Path, policy: Path, labels: tuple[str | None, str | None] = (None, None)) -> Outputs:
    """Pair the outputs by instruction; the prompt ids are the rows of `start`, from 0.

    An instruction that a file has several times is paired in the order of its rows. Raises BadOutputs for files
    without a common prompt or with the same label, and as `read_outputs` does.
    """
    before, after = (_number_rows(read_outputs(path)) for path in (start, policy))
    pairs = [
        Pair(str(n), key[0], None, _generation(row), _generation(after[key]))
        for n, (key, row) in enumerate(before.items())
        if key in after
    ]
    if not pairs:
        raise BadOutputs(f"{start} and {policy} have no prompt in common: both must answer the same prompts")
    first, second = (
        given or p.stem.removesuffix("_outputs") for given, p in zip(labels, (start, policy), strict=True)
    )
    if first == second:
        raise BadOutputs(
            f"both files of outputs have the label {first!r}; set --start-label or --policy-label"
        )
    warnings = []
    for path, own, other in ((start, before, after), (policy, after, before)):
        if alone := [key[0] for key in own if key not in other]:
            warnings.append(
                f"{len(alone)} prompts are only in {path.name} and are not compared: {_quote(alone)}"
            )
    return Outputs(
        (first, second), (_generators(before.values()), _generators(after.values())), pairs, warnings
    )


def _number_rows(rows: Sequence[Row]) -> dict[tuple[str, int], Row]:
    """Rows by instruction and by how often the instruction occurred before."""
    seen: Counter[str] = Counter()
    numbered = {}
    for row in rows:
        text = row["instruction"]
        numbered[text, seen[text]] = row
        seen[text] += 1
    return numbered


def _generation(row: Row) -> Generation:
    return Generation(row["output"], finished=None, tokens=None)


def _generators(rows: Iterable[Row]) -> str:
    """The generators that the rows name."""
    return ", ".join(sorted({replace_surrogates(str(row.get("generator", "unknown"))) for row in rows}))


def _quote(texts: Sequence[str]) -> str:
    """The first texts, shortened and quoted."""
    few = [repr(text if len(text) <= 60 else f"{text[:60]}...") for text in texts[:SHOWN]]
    return ", ".join([*few, *([f"and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else [])])


def read_verdicts(path: Path, outputs: Outputs) -> tuple[list[Verdict], list[str]]:
    """One judge's verdicts on the pairs, and warnings.

    Every pair gets a verdict, or two if the file has any pair in both orders. A verdict that the file lacks, or has on
    another text, is unscored. Raises BadOutputs for a file of another format, for labels that are not those of the
    outputs, for two verdicts on one pair in one order, and for a file on other texts than the outputs.
    """
    labels, rows, stated = _read_rows(path)
    if set(labels) != set(outputs.labels):
        raise BadOutputs(
            f"{path} compares {labels[0]!r} with {labels[1]!r}, but the labels of start and policy are "
            f"{outputs.labels[0]!r} and {outputs.labels[1]!r}: set --start-label and --policy-label"
        )
    policy = "ab"[labels.index(outputs.labels[1])]
    pairs = {pair.prompt_id: pair for pair in outputs.pairs}
    on_pairs = [(row, pairs[str(row["index"])]) for row in rows if str(row["index"]) in pairs]
    _check_texts(path, len(rows), on_pairs, policy)
    verdicts = [_verdict(row, pair, policy) for row, pair in on_pairs]
    present = {(verdict.prompt_id, verdict.policy_first) for verdict in verdicts}
    both = any((prompt_id, True) in present and (prompt_id, False) in present for prompt_id in pairs)
    for prompt_id in pairs:
        lacking = [first for first in (True, False) if (prompt_id, first) not in present]
        if both:
            reason = "the file has no verdict on it in this order"
            verdicts += [Verdict(prompt_id, first, "unscored", reason) for first in lacking]
        elif len(lacking) == 2:
            verdicts.append(Verdict(prompt_id, True, "unscored", "the file has no verdict on it"))
    warnings = []
    if strays := [str(row["instruction"]) for row in rows if str(row["index"]) not in pairs]:
        warnings.append(f"{len(strays)} verdicts are on no pair and are left out: {_quote(strays)}")
    if other := [pairs[v.prompt_id].prompt for v in verdicts if v.reason == OTHER_INSTRUCTION]:
        warnings.append(f"{len(other)} verdicts are on other instructions than the outputs': {_quote(other)}")
    reasons = Counter(v.reason for v in verdicts if v.reason is not None)
    warnings += [f"{n} of {len(verdicts)} verdicts unscored: {why}" for why, n in reasons.most_common(SHOWN)]
    winners = Counter(str(row["winner"]) for row in rows)
    counts = {"wins_a": winners["a"], "wins_b": winners["b"], "ties": winners["tie"], "total": len(rows)}
    warnings += [
        f"the file gives {name}={stated[name]}, but its rows have {count}"
        for name, count in counts.items()
        if stated.get(name, count) != count
    ]
    if ties := sum(verdict.outcome == "tie" for verdict in verdicts):
        warnings.append(
            f"{ties} ties count as ties: only a reason that begins with {FAILED!r} tells a failed call from a tie"
        )
    return verdicts, warnings


def verdict_labels(path: Path) -> tuple[str, str] | None:
    """The labels of a and b in a file of verdicts; None for any other JSON file."""
    try:
        raw = read_json(path)
    except ValueError:
        return None
    is_verdicts = isinstance(raw, dict) and raw.keys() >= FILE_FIELDS
    return (str(raw["label_a"]), str(raw["label_b"])) if is_verdicts else None


def _read_rows(path: Path) -> tuple[tuple[str, str], list[Row], dict[str, Any]]:
    """The labels of a and b, the rows of `per_sample`, each with every field and an order, and the whole file."""
    if (labels := verdict_labels(path)) is None:
        raise BadOutputs(
            f"{path} is not a file of verdicts: it must be JSON with label_a, label_b and per_sample"
        )
    stated = read_json(path)
    rows = stated["per_sample"]
    if not isinstance(rows, list):
        raise BadOutputs(f"{path}: per_sample is {str(rows)[:80]}; it must be a list")
    seen = set()
    for row in rows:
        if not isinstance(row, dict) or not set(ROW_FIELDS) <= set(row):
            raise BadOutputs(f"{path}: {str(row)[:80]} in per_sample must have {', '.join(ROW_FIELDS)}")
        index, order = str(row["index"]), row["order_shown"]
        if order not in ("ab", "ba"):
            raise BadOutputs(f"{path}: order_shown is {order!r} at index {index}; it must be ab or ba")
        if (index, order) in seen:
            raise BadOutputs(f"{path} has two verdicts on index {index} in the order {order}; leave one")
        seen.add((index, order))
    return labels, rows, stated


def _check_texts(path: Path, count: int, on_pairs: Sequence[tuple[Row, Pair]], policy: str) -> None:
    """Raise BadOutputs if instructions, lengths or digests show that the file is on other texts than the pairs."""
    remedy = "give the outputs that this file compares"
    fit = sum(row["instruction"] in (pair.prompt, pair.prompt[:CUT]) for row, pair in on_pairs)
    if 2 * fit < count:
        raise BadOutputs(
            f"{path}: {count - fit} of {count} verdicts are on other instructions than the outputs; {remedy}"
        )
    for row, pair in on_pairs:
        for side in "ab":
            text = (pair.policy if side == policy else pair.start).response
            actual = {"length": len(text), "digest": hashlib.sha256(text.encode()).hexdigest()}
            for name, value in actual.items():
                stated = row.get(f"{name}_{side}")
                if stated is not None and str(stated).lower() != str(value):
                    raise BadOutputs(
                        f"{path}: {name}_{side} is {stated} at index {row['index']}, but that of the output is "
                        f"{value}; {remedy}"
                    )


def _verdict(row: Row, pair: Pair, policy: str) -> Verdict:
    """The verdict of one row; `policy` is the letter of the trained policy."""
    order, verdict, winner = row["order_shown"], row["verdict"], row["winner"]
    reason = None if row["reason"] is None else replace_surrogates(str(row["reason"]))
    if row["instruction"] not in (pair.prompt, pair.prompt[:CUT]):
        problem = OTHER_INSTRUCTION
    elif reason is not None and reason.startswith(FAILED):
        problem = reason
    elif not isinstance(verdict, str) or verdict not in OUTCOMES:
        problem = f"the verdict is {verdict!r}; it must be A, B or TIE"
    elif winner not in ("a", "b", "tie"):
        problem = f"the winner is {winner!r}; it must be a, b or tie"
    elif winner != {"A": order[0], "B": order[1], "TIE": "tie"}[verdict]:
        problem = f"the verdict {verdict} in the order {order} contradicts the winner {winner}"
    else:
        return Verdict(pair.prompt_id, order[0] == policy, OUTCOMES[verdict], note=reason)
    return Verdict(pair.prompt_id, order[0] == policy, "unscored", replace_surrogates(problem))


def imported_record(
    name: str,
    outputs: Outputs,
    judge: str,
    settings: Mapping[str, Any] | None = None,
    digests: Mapping[str, str] | None = None,
) -> RunRecord:
    """The record of two files of outputs, to which a judge's verdicts are added.

    The run id depends on the name, the judge, the labels, the outputs and `digests`, but not on the verdicts: verdicts
    that are read again overwrite the earlier record. The digest of the outputs is also part of the configuration, so
    that different outputs under the same names are never pooled.

    Args:
        settings: Further configuration for the record.
        digests: Digests of the settings of this project's judges, by member of a panel.
    """
    labels = dict(zip(("start", "policy"), outputs.labels, strict=True))
    texts = digest([[p.prompt, p.start.response, p.policy.response] for p in outputs.pairs])
    imported = {**labels, "outputs": texts}
    slug = re.sub(r"[^\w.-]+", "-", f"{SCALE}-{name}-{judge}")[:LONGEST_SLUG]
    return RunRecord(
        run_id=f"{slug}-{digest([name, judge, imported, digests])}",
        scale=SCALE,
        family=name,
        regime=outputs.labels[0],
        reward=SCALE,
        verifier="none",
        judge=judge,
        seed=0,
        experiment=None,
        generator_checkpoint=outputs.generators[0],
        verifier_checkpoint="none",
        heldout_checkpoint=None,
        config={"imported": imported, **(settings or {})},
        environment={"policy": outputs.generators[1]},
        warnings=outputs.warnings,
        stopped=None,
        history={},
        pairs=outputs.pairs,
        verdicts=[],
        seconds={},
    )
