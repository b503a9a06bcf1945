"""`python -m experiments import`: published outputs and verdicts as records, so that `python -m analysis` reads them.

    python -m experiments import --start base_outputs.json --policy finetuned_outputs.json \\
        --verdicts judge_base_vs_finetuned__gpt-5_2.json --name qwen-instruct --out FOLDER
    python -m experiments judge --start A.json --policy B.json --name NAME --out FOLDER [overrides, such as judge=local]

Outputs are in AlpacaEval's format. A file of verdicts is in the format released with arXiv 2605.29009: `label_a`,
`label_b` and a list `per_sample` of {index, instruction, order_shown, verdict, winner, reason}; there a failed call
is written as a tie, with "(judge error: ...)" for its reason, and here it is unscored. Each judge gets a record of
its own. Prompts that are in one outputs file alone, and verdicts on other texts than the outputs', are counted and
named, never joined away.
"""

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

from cme import Unavailable
from cme.outputs import BadOutputs, Row, read_outputs
from cme.records import Generation, Outcome, Pair, RunRecord, Verdict, read_json, write_record
from experiments.identity import digest

SCALE = "imported"
CUT = 200
"""Characters of an instruction that a file of verdicts repeats."""
FAILED = "(judge error"
"""How the reason of a failed call begins."""
OUTCOMES: dict[str, Outcome] = {"A": "first", "B": "second", "TIE": "tie"}
FIELDS = ("index", "instruction", "order_shown", "verdict", "winner", "reason")
NAMED = 5
"""Differing prompts that a warning names."""


@dataclass(frozen=True)
class Outputs:
    """Two outputs files side by side. `labels` say what start and policy are called."""

    labels: tuple[str, str]
    generators: tuple[str, str]
    pairs: list[Pair]
    warnings: list[str] = field(default_factory=list)


def read_pairs(start: Path, policy: Path, labels: tuple[str | None, str | None] = (None, None)) -> Outputs:
    """Pair the outputs by instruction; the prompt ids are the rows of `start`, from 0.

    An instruction that a file has several times is paired in the order of its rows. Raises BadOutputs for files
    without a common prompt, and as `read_outputs` does.
    """
    files = [_occurrences(read_outputs(path)) for path in (start, policy)]
    pairs = [
        Pair(str(n), text, None, _generation(row), _generation(files[1][text, nth]))
        for n, ((text, nth), row) in enumerate(files[0].items())
        if (text, nth) in files[1]
    ]
    if not pairs:
        raise BadOutputs(f"{start} and {policy} have no prompt in common: both must answer the same prompts")
    warnings = []
    for path, own, other in ((start, *files), (policy, *files[::-1])):
        alone = [text for text, nth in own if (text, nth) not in other]
        if alone:
            warnings.append(
                f"{len(alone)} prompts are in {path.name} alone, so not compared: {_named(alone)}"
            )
    return Outputs(
        (labels[0] or _label(start), labels[1] or _label(policy)),
        (_generator(files[0].values()), _generator(files[1].values())),
        pairs,
        warnings,
    )


def read_verdicts(path: Path, outputs: Outputs) -> tuple[list[Verdict], list[str]]:
    """One judge's verdicts on the pairs, and what to warn of.

    Every pair has at least one: where the file has none, or one on another text, it is unscored. Raises BadOutputs
    for a file of another format, labels that are not those of the outputs, and two verdicts on one pair in one order.
    """
    try:
        raw = read_json(path)
    except ValueError as error:
        raise BadOutputs(f"{path} is not JSON: {error}") from error
    if not isinstance(raw, dict) or not {"label_a", "label_b", "per_sample"} <= set(raw):
        raise BadOutputs(f"{path} is no file of verdicts: it must have label_a, label_b and per_sample")
    names = {"a": raw["label_a"], "b": raw["label_b"]}
    if sorted(names.values()) != sorted(outputs.labels) or len(set(outputs.labels)) != 2:
        raise BadOutputs(
            f"{path} compares {names['a']!r} with {names['b']!r}, but start is called {outputs.labels[0]!r} and "
            f"policy {outputs.labels[1]!r}: name them by --start-label and --policy-label"
        )
    policy = "a" if names["a"] == outputs.labels[1] else "b"
    pairs = {pair.prompt_id: pair for pair in outputs.pairs}
    verdicts, strays, seen = [], [], set()
    for row in raw["per_sample"]:
        if not isinstance(row, dict) or not set(FIELDS) <= set(row):
            raise BadOutputs(
                f"{path}: a row of per_sample is {str(row)[:80]}; it must have {', '.join(FIELDS)}"
            )
        if row["order_shown"] not in ("ab", "ba"):
            raise BadOutputs(
                f"{path}: order_shown is {row['order_shown']!r} at index {row['index']}; it must be ab or ba"
            )
        if (row["index"], row["order_shown"]) in seen:
            raise BadOutputs(
                f"{path} has two verdicts on index {row['index']} in the order {row['order_shown']}"
            )
        seen.add((row["index"], row["order_shown"]))
        pair = pairs.get(str(row["index"]))
        if pair is None:
            strays.append(row["instruction"])
            continue
        verdicts.append(_verdict(row, pair, policy))
    missing = [pair for pair in outputs.pairs if pair.prompt_id not in {v.prompt_id for v in verdicts}]
    verdicts += [Verdict(p.prompt_id, True, "unscored", "the file has no verdict on it") for p in missing]
    warnings = [f"{len(strays)} verdicts are on no pair, so left out: {_named(strays)}"] if strays else []
    reasons = Counter(v.reason for v in verdicts if v.reason is not None)
    warnings += [
        f"{count} of {len(verdicts)} verdicts unscored: {why}" for why, count in reasons.most_common(NAMED)
    ]
    return verdicts, warnings


def _verdict(row: Row, pair: Pair, policy: str) -> Verdict:
    """The verdict of one row; `policy` is the letter of the trained policy."""
    order, said, reason = row["order_shown"], row["verdict"], str(row["reason"])

    def unscored(why: str) -> Verdict:
        return Verdict(pair.prompt_id, order[0] == policy, "unscored", why)

    if row["instruction"] not in (pair.prompt, pair.prompt[:CUT]):
        return unscored("the verdict is on another instruction than the outputs'")
    if reason.startswith(FAILED):
        return unscored(reason)
    if said not in OUTCOMES:
        return unscored(f"the verdict is {said!r}, which is none of A, B, TIE")
    if row["winner"] != {"A": order[0], "B": order[1], "TIE": "tie"}[said]:
        return unscored(f"the verdict {said} in the order {order} contradicts the winner {row['winner']}")
    return Verdict(pair.prompt_id, order[0] == policy, OUTCOMES[said], note=reason)


def record_of(
    name: str,
    outputs: Outputs,
    judge: str,
    verdicts: list[Verdict],
    warnings: list[str],
    more: dict[str, Any],
) -> RunRecord:
    """The record of one judge's verdicts on two outputs files; `more` is configuration to keep."""
    config = {"imported": dict(zip(("start", "policy"), outputs.labels, strict=True)), **more}
    made_from = [judge, config, [[p.prompt, p.start.response, p.policy.response] for p in outputs.pairs]]
    slug = re.sub(r"[^\w.-]+", "-", f"{SCALE}-{name}-{judge}")
    return RunRecord(
        run_id=f"{slug}-{digest(made_from)}",
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
        config=config,
        environment={"policy": outputs.generators[1]},
        warnings=[*outputs.warnings, *warnings],
        stopped=None,
        history={},
        pairs=outputs.pairs,
        verdicts=verdicts,
        seconds={},
    )


def main(arguments: Sequence[str]) -> int:
    """Run `import` or `judge`; returns the exit code, 2 for what cannot be read."""
    parser = argparse.ArgumentParser(
        prog=f"python -m experiments {arguments[0]}",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--start",
        type=Path,
        required=True,
        metavar="FILE",
        help="outputs of the untrained start, or of the baseline",
    )
    add("--policy", type=Path, required=True, metavar="FILE", help="outputs of the trained policy")
    add("--start-label", help="what the verdicts call it; default: the file's name, without `_outputs`")
    add("--policy-label", help="the same for the policy")
    add("--name", required=True, help="what the tables call the comparison")
    add("--out", type=Path, required=True, metavar="FOLDER", help="where the records go")
    if arguments[0] == "import":
        add(
            "--verdicts",
            type=Path,
            required=True,
            action="append",
            metavar="FILE",
            help="one judge's; repeatable",
        )
    else:
        add("overrides", nargs="*", help="such as judge=local judge.checkpoint=Qwen/Qwen2.5-7B-Instruct")
    options = parser.parse_intermixed_args(arguments[1:])
    try:
        outputs = read_pairs(options.start, options.policy, (options.start_label, options.policy_label))
        records = _imported(options, outputs) if arguments[0] == "import" else [_judged(options, outputs)]
    except (ValueError, Unavailable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    from analysis import summarize

    for record in records:
        path = options.out / f"{record.run_id}.record.json"
        write_record(path, record)
        for warning in record.warnings:
            print(f"warning: {record.judge}: {warning}", file=sys.stderr)
        print(f"{record.judge}: {summarize([record])}\nrecord: {path}")
    return 0


def _imported(options: argparse.Namespace, outputs: Outputs) -> list[RunRecord]:
    """A record for each file of verdicts; the judge is what its name has behind `__`."""
    by_judge = {path.stem.rpartition("__")[2]: path for path in options.verdicts}
    if len(by_judge) < len(options.verdicts):
        raise BadOutputs("--verdicts: two files are of one judge, which is what their names have behind `__`")
    return [
        record_of(options.name, outputs, judge, *read_verdicts(path, outputs), {})
        for judge, path in by_judge.items()
    ]


def _judged(options: argparse.Namespace, outputs: Outputs) -> RunRecord:
    """The record of a configured judge's verdicts, in both orders."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    from cme.judges import judge_pairs
    from experiments import grid

    [config] = grid.cells(options.overrides)
    settings = cast("dict[str, Any]", OmegaConf.to_container(config.judge, resolve=True))
    try:
        judge = instantiate({key: value for key, value in settings.items() if key != "name"})
    except InstantiationException as error:
        if isinstance(error.__cause__, Unavailable | ValueError):
            raise error.__cause__ from None
        raise
    began = time.perf_counter()
    verdicts = judge_pairs(judge, outputs.pairs, both_orders=True)
    record = record_of(options.name, outputs, settings["name"], verdicts, [], {"judge": settings})
    return replace(record, seconds={"judge": time.perf_counter() - began})


def _occurrences(rows: Sequence[Row]) -> dict[tuple[str, int], Row]:
    """Rows by instruction and how often it came before."""
    seen: Counter[str] = Counter()
    found = {}
    for row in rows:
        text = row["instruction"]
        found[text, seen[text]] = row
        seen[text] += 1
    return found


def _generation(row: Row) -> Generation:
    return Generation(row["output"], finished=None, tokens=None)


def _generator(rows: Iterable[Row]) -> str:
    """What the rows say made them."""
    return ", ".join(sorted({str(row.get("generator", "unknown")) for row in rows}))


def _label(path: Path) -> str:
    return path.stem.removesuffix("_outputs")


def _named(texts: Sequence[str]) -> str:
    """The first few texts, shortened."""
    few = [repr(text if len(text) <= 60 else f"{text[:60]}...") for text in texts[:NAMED]]
    return ", ".join([*few, *([f"and {len(texts) - NAMED} more"] if len(texts) > NAMED else [])])
