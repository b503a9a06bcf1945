"""What the sections on verifiers share: a verifier's kinship and own worth, and what came of training under it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf, isnan, nan

import numpy as np

from analysis.figures.style import Style
from analysis.records.frames import verdicts_frame
from analysis.records.names import method_names, order_key, sort_names
from analysis.sections.base import NothingToShow
from analysis.stats.contrasts import Contrast, contrast
from analysis.stats.intervals import FEW_PROMPTS
from analysis.stats.metrics import MIN_SEEDS, Tally, tally, win_rate
from analysis.tables.cells import Cell, build_cells
from analysis.tables.win_rates import format_interval
from cme.records import MAJORITY, RunRecord

ORACLE = "oracle"
KINSHIP = {
    "random weights": Style("#767676", "v", ()),
    "itself": Style("#D55E00", "D", ()),
    "same family": Style("#E69F00", "s", ()),
    "other family": Style("#0072B2", "o", ()),
    "ensemble": Style("#009E73", "P", ()),
}
KNOWLEDGE = ("random", "pretrained", "sft", "instruct", "verifier")
"""What a checkpoint was made to know, from least to most."""
ANY_SEED = (
    f"In brackets 95 % intervals about other seeds and other prompts both, [n/a] below {MIN_SEEDS} seeds; bold: it "
    f"excludes no effect, on {FEW_PROMPTS} prompts or more."
)


@dataclass(frozen=True, eq=False)
class Outcome:
    """Training under one verifier: its cell, and the true quality of its policies where an oracle judged.

    `own` is the verifier's own true quality (0-1) with its 95 % interval over prompts, NaN where it is not recorded.
    `gain` is the policies' true quality less their start's, in hundredths; `policies` holds it by prompt and run.
    """

    label: str
    kin: str
    knowledge: str
    own: tuple[float, float, float]
    cell: Cell
    gain: Contrast | None
    policies: Tally | None = field(repr=False)
    runs: Sequence[RunRecord] = field(repr=False)

    @property
    def style(self) -> Style:
        """How it is drawn: by its kinship."""
        return KINSHIP[self.kin]


def by_generator(runs: Sequence[RunRecord]) -> Iterator[tuple[str, list[RunRecord]]]:
    """The runs of each generator."""
    for family, regime in dict.fromkeys((run.family, run.regime) for run in runs):
        own = [run for run in runs if (run.family, run.regime) == (family, regime)]
        yield f"{family} {regime}", own


def labels(runs: Sequence[RunRecord]) -> dict[str, str]:
    """What to call each run by its id: its verifier, or its whole method where that alone would pool settings."""
    names = method_names(runs)
    verifiers = {names[run.run_id]: run.verifier for run in runs}
    alone = len(set(verifiers.values())) == len(verifiers)
    return {run.run_id: run.verifier if alone else names[run.run_id] for run in runs}


def kinship(run: RunRecord) -> str:
    """What a run's verifier is to its generator."""
    checkpoints = run.verifier_checkpoint.split(", ")
    if len(checkpoints) > 1:
        return "ensemble"
    if checkpoints[0].startswith("random:"):
        return "random weights"
    if checkpoints[0] == run.generator_checkpoint:
        return "itself"
    return "same family" if run.config["verifier"]["family"] == run.family else "other family"


def knowledge(run: RunRecord) -> str:
    """What a run's verifier was made to know: the last part of its checkpoint's name."""
    if run.verifier_checkpoint.startswith("random:"):
        return KNOWLEDGE[0]
    return " + ".join(
        sort_names((name.split("/")[-1] for name in run.verifier_checkpoint.split(", ")), KNOWLEDGE)
    )


def outcomes(runs: Sequence[RunRecord]) -> list[Outcome]:
    """The outcomes of one generator's runs under one judge, from the least able verifier to the most able one.

    Random weights, then by own true quality where that is known of all but ensembles, or else by what each was made
    to know.
    """
    called, by_id = labels(runs), {run.run_id: run for run in runs}
    judge = judge_of_section(runs)
    found = [
        outcome(called[cell.runs[0]], cell, [by_id[run] for run in cell.runs])
        for cell in build_cells(runs)
        if cell.judge == judge
    ]
    measured = not any(isnan(of.own[0]) for of in found if of.kin != "ensemble")

    def ability(of: Outcome) -> tuple[bool, float, tuple[int, str], str]:
        own = of.own[0] if measured and of.kin != "ensemble" else inf
        return of.kin != "random weights", own, order_key(of.knowledge, KNOWLEDGE), of.label

    return sorted(found, key=ability)


def judge_of_section(runs: Sequence[RunRecord]) -> str:
    """Whose verdicts are shown: the oracle's, or a panel's majority's, or else the first judge's.

    Raises NothingToShow without a verdict.
    """
    judges = sort_names(verdicts_frame(runs)["judge"])
    if not judges:
        raise NothingToShow("none of the runs has a verdict")
    wanted = [j for j in judges if j == ORACLE] + [j for j in judges if j.endswith(f": {MAJORITY}")]
    return (wanted + judges)[0]


def outcome(label: str, cell: Cell, runs: Sequence[RunRecord]) -> Outcome:
    """What came of one verifier's runs."""
    after, before = (quality_tally(runs, side) for side in ("score_policy", "score_start"))
    return Outcome(
        label=label,
        kin=kinship(runs[0]),
        knowledge=knowledge(runs[0]),
        own=own_quality(runs),
        cell=cell,
        gain=contrast(after, before) if after is not None and before is not None else None,
        policies=after,
        runs=runs,
    )


def quality_tally(runs: Sequence[RunRecord], side: str) -> Tally | None:
    """True quality by prompt and run, from the oracle's scores; None where it did not judge."""
    frame = verdicts_frame(runs)
    frame = frame[(frame["judge"] == ORACLE) & frame[side].notna()]
    if frame.empty:
        return None
    number = frame["run_id"].map({run.run_id: index for index, run in enumerate(runs)})
    return tally(
        frame[side].to_numpy(float), frame["prompt_id"].to_numpy(object), np.asarray(number, dtype=np.int64)
    )


def own_quality(runs: Iterable[RunRecord]) -> tuple[float, float, float]:
    """The verifier's own true quality (0-1) and its 95 % interval over prompts; NaN where no record has it."""
    for run in runs:
        if run.verifier_quality is not None:
            prompts = np.array([pair.prompt_id for pair in run.pairs], dtype=object)
            of = win_rate(
                np.array(run.verifier_quality, dtype=float), prompts
            )  # a mean of values from 0 to 1
            return of.rate / 100, of.lo / 100, of.hi / 100
    return nan, nan, nan


def own_columns(own: tuple[float, float, float]) -> dict[str, float]:
    """A verifier's own quality with its interval as columns of a frame."""
    return dict(zip(("own_quality", "own_lo", "own_hi"), own, strict=True))


def own_text(own: tuple[float, float, float], knowledge: str) -> str:
    """A verifier's own quality with its interval, or what it was made to know."""
    value, lo, hi = own
    return f"({knowledge})" if isnan(value) else f"{value:.3f} {format_interval(lo, hi, 3)}"


def pooled(found: Sequence[Outcome]) -> Tally | None:
    """The true quality of all these outcomes' policies, every run a column of its own; None without an oracle."""
    runs = [run for of in found for run in of.runs]
    return quality_tally(runs, "score_policy") if runs else None


def hundredths(of: Contrast) -> str:
    """A contrast of qualities in their own unit with the interval for any seed."""
    return f"{of.difference / 100:+.3f} {format_interval(of.wide_lo / 100, of.wide_hi / 100, 3)}"


def verdict(of: Contrast) -> str:
    """What the rule that was stated before the runs says of one contrast."""
    if isnan(of.wide_lo):
        return f"not testable: fewer than {MIN_SEEDS} runs a side"
    if of.prompts < FEW_PROMPTS:
        return f"not testable: fewer than {FEW_PROMPTS} prompts"
    return "supported here" if of.wide_lo > 0 else "refuted here" if of.wide_hi < 0 else "not supported"


def seeds_of(runs: Sequence[RunRecord]) -> str:
    """The seeds of some runs."""
    return " ".join(map(str, sorted(run.seed for run in runs)))
