"""What the records of one scale say of the paper's claims about training and signals, one function a claim.

Each is pure: it takes the `Evidence` and the `Claim` and returns a `Result`. The list of claims is in `claim_list`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan

from analysis.claims.evidence import (
    Evidence,
    Part,
    about,
    auroc_part,
    difference,
    differences,
    place,
    win_part,
)
from analysis.claims.rules import Result, Rule, decide
from analysis.records.names import REGIMES, sort_names
from analysis.sections.accuracy import accuracy_frame
from analysis.stats.auroc import pooled_auroc, pooled_difference
from analysis.tables.cells import Cell
from analysis.tables.separation import Separation
from analysis.tables.win_rates import format_percent
from cme.records import RunRecord

FAMILIES = ("qwen", "llama", "gemma", "olmo")
RUNGS = ("random", "pretrained", "sft", "instruct")
STRONGEST = len(RUNGS)


@dataclass(frozen=True)
class Claim:
    """A claim: where the paper makes it, the published figure, the experiments that test it, the rule and its use.

    `by_verdicts` says that win rates decide it, so that it is worth no more than their judge.
    """

    name: str
    text: str
    where: str
    published: str
    experiments: tuple[str, ...]
    rule: Rule
    judge: Callable[[Evidence, "Claim"], Result]
    by_verdicts: bool = False


def beats_start(evidence: Evidence, claim: Claim) -> Result:
    """CME against its start, cell by cell; part of the grid can refute the claim, and cannot confirm it."""
    cells = [cell for cell in evidence.cells(*claim.experiments) if evidence.scalar_cme(cell)]
    found = decide([win_part(cell) for cell in cells], claim.rule, "no run of CME has a verdict")
    places = {(cell.family, cell.regime) for cell in cells}
    missing = len(FAMILIES) * len(REGIMES) - len(places & {(f, r) for f in FAMILIES for r in REGIMES})
    if found.verdict == "reproduced" and missing:
        reason = f"{found.reason} But {missing} of the {len(FAMILIES) * len(REGIMES)} cells have no run."
        return Result("not testable here", reason, found.parts)
    return found


def win_range(evidence: Evidence, claim: Claim) -> Result:
    """The size of the win rates, which only the paper's own scale can have."""
    cells = [cell for cell in evidence.cells(*claim.experiments) if evidence.scalar_cme(cell)]
    parts = [win_part(cell) for cell in cells]
    if parts and evidence.scale != "paper":
        rates = sorted(part.value for part in parts)
        ends = f"{format_percent(rates[0])} to {format_percent(rates[-1])} % at {evidence.scale} scale"
        reason = (
            f"A win rate belongs to its checkpoints, prompts and judge: {ends} is no other measurement of the "
            "published range."
        )
        return Result("not testable here", reason)
    return decide(parts, claim.rule, "no run of CME has a verdict")


def against_start(reward: str) -> Callable[[Evidence, Claim], Result]:
    """The claim about one reward's win rate against its start."""

    def judge(evidence: Evidence, claim: Claim) -> Result:
        cells = [cell for cell in evidence.cells(*claim.experiments) if cell.reward == reward]
        return decide([win_part(cell) for cell in cells], claim.rule, f"no run of {reward} has a verdict")

    return judge


def better_than(*rewards: str) -> Callable[[Evidence, Claim], Result]:
    """The claim that scalar CME wins more against the start than other rewards or trainers do."""

    def judge(evidence: Evidence, claim: Claim) -> Result:
        cells = evidence.cells(*claim.experiments)
        parts = differences(cells, evidence.scalar_cme, lambda cell: cell.reward in rewards)
        return decide(parts, claim.rule, f"no run of {' or '.join(rewards)} beside one of CME")

    return judge


def dense(evidence: Evidence, claim: Claim) -> Result:
    """Dense CME less the scalar, place by place."""
    cells = evidence.cells(*claim.experiments)
    parts = differences(cells, lambda c: c.reward == "cme" and evidence.dense(c), evidence.scalar_cme)
    return decide(parts, claim.rule, "no run of dense CME beside one of the scalar")


def random_verifier(evidence: Evidence, claim: Claim) -> Result:
    """CME under a verifier with random weights against the start."""
    cells = [c for c in evidence.cells(*claim.experiments) if c.reward == "cme" and c.verifier == "random"]
    parts = [win_part(cell) for cell in cells]
    return decide(parts, claim.rule, "no run has the verifier with random weights")


def stronger_verifier(evidence: Evidence, claim: Claim) -> Result:
    """The strongest verifier of another family less each weaker one of the same family as it."""
    parts = [
        difference(ladder[-1], weaker, f"{place(weaker)}: {ladder[-1].verifier} less {weaker.verifier}")
        for ladder in ladders(evidence, claim)
        for weaker in ladder[:-1]
    ]
    return decide(parts, claim.rule, "no two verifiers of one family and differing strength")


def saturation(evidence: Evidence, claim: Claim) -> Result:
    """The strongest verifier of another family less the next below it."""
    parts = [
        difference(
            ladder[-1], ladder[-2], f"{place(ladder[-1])}: {ladder[-1].verifier} less {ladder[-2].verifier}"
        )
        for ladder in ladders(evidence, claim)
    ]
    return decide(parts, claim.rule, "no two verifiers of one family and differing strength")


def ladders(evidence: Evidence, claim: Claim) -> list[list[Cell]]:
    """The cells of CME in one place under verifiers of one other family, weakest first, two or more."""
    found: dict[tuple[str, ...], list[Cell]] = {}
    for cell in evidence.cells(*claim.experiments):
        family = evidence.setting(cell, "verifier.family")
        if (
            evidence.scalar_cme(cell)
            and family not in (None, cell.family)
            and rung(cell.verifier) is not None
        ):
            found.setdefault((cell.judge, cell.family, cell.regime, str(family)), []).append(cell)
    ordered = [sorted(cells, key=lambda cell: rung(cell.verifier) or 0) for cells in found.values()]
    return [cells for cells in ordered if rung(cells[0].verifier) != rung(cells[-1].verifier)]


def rung(verifier: str) -> int | None:
    """How much a verifier knows, from random weights (0) upwards, by its name; None for start and ensembles."""
    if verifier == "start" or verifier.startswith("ensemble"):
        return None
    kind = verifier.rsplit("_", 1)[-1]
    return RUNGS.index(kind) if kind in RUNGS else STRONGEST


def other_family(evidence: Evidence, claim: Claim) -> Result:
    """Trained verifiers of other families less those of the generator's own, of equal knowledge."""
    cells = [
        cell
        for cell in evidence.cells(*claim.experiments)
        if evidence.scalar_cme(cell) and rung(cell.verifier) not in (None, 0)
    ]

    def own(cell: Cell) -> bool:
        return bool(evidence.setting(cell, "verifier.family") == cell.family)

    parts = [
        part
        for level in sorted({rung(cell.verifier) or 0 for cell in cells})
        for part in differences([c for c in cells if rung(c.verifier) == level], lambda c: not own(c), own)
    ]
    return decide(
        parts, claim.rule, "no verifier of the generator's family beside one of another and equal knowledge"
    )


def advantages(evidence: Evidence, claim: Claim) -> Result:
    """Advantages only centred less those divided by the group's standard deviation."""
    return by_setting(evidence, claim, "trainer.scale_rewards", "group")


def kl_weight(evidence: Evidence, claim: Claim) -> Result:
    """Each KL weight above 0 less none."""
    return by_setting(evidence, claim, "trainer.beta", 0.0)


def by_setting(evidence: Evidence, claim: Claim, path: str, usual: str | float) -> Result:
    """Every other value of a setting less the usual one, for scalar CME."""
    cells = [cell for cell in evidence.cells(*claim.experiments) if evidence.scalar_cme(cell)]

    def is_usual(cell: Cell) -> bool:
        return bool(evidence.setting(cell, path) == usual)

    parts = differences(cells, lambda c: evidence.setting(c, path) is not None and not is_usual(c), is_usual)
    return decide(parts, claim.rule, f"no two values of {path}")


def accuracy_rises(evidence: Evidence, claim: Claim) -> Result:
    """The paired change of pass@1 under CME of every kind, in points."""
    parts = accuracy_parts(evidence.runs(*claim.experiments))
    return decide(parts, claim.rule, "no run of CME on mathematics")


def any_verifier(evidence: Evidence, claim: Claim) -> Result:
    """The same by verifier, random weights apart: the published sweep has none."""
    runs = [run for run in evidence.runs(*claim.experiments) if run.verifier != "random"]
    return decide(accuracy_parts(runs), claim.rule, "no run of CME on mathematics")


def accuracy_parts(runs: Sequence[RunRecord]) -> list[Part]:
    """The paired change of pass@1, in points, of every cell of CME by verifier; for any seed where it can be."""
    runs = [run for run in runs if run.accuracy is not None and run.reward.startswith("cme")]
    parts = []
    for verifier in sort_names(run.verifier for run in runs):
        rows = accuracy_frame([run for run in runs if run.verifier == verifier]).to_dict("records")
        for row in (row for row in rows if row["policy"] == "final"):
            name = f"{row['data']}: {row['family']} {row['regime']} {row['method']}, verifier {verifier}"
            wide = not isnan(row["any_seed_lo"])
            bounds = ("any_seed_lo", "any_seed_hi") if wide else ("change_lo", "change_hi")
            change, lo, hi = (100 * float(row[column]) for column in ("change", *bounds))
            parts.append(Part(name, change, lo, hi, row["prompts"], row["seeds"], about(wide)))
    return parts


def separates(evidence: Evidence, claim: Claim) -> Result:
    """AUROC of the verifier's cross-entropy over the whole response, wrong against right."""
    signal = "cross_entropy verifier response"
    parts = [
        auroc_part(called(one), pooled_auroc(one.wins(signal)[0]))
        for one in map(Separation, evidence.separation)
        if signal in one.values
    ]
    return decide(parts, claim.rule, "no record of separation")


def verifier_separates_better(evidence: Evidence, claim: Claim) -> Result:
    """AUROC of the cross-entropy under the verifier less that under the generator."""
    return separation_contrast(
        evidence,
        claim,
        "cross_entropy verifier response",
        "cross_entropy generator response",
        "no record of separation",
    )


def answer_separates_better(evidence: Evidence, claim: Claim) -> Result:
    """AUROC of the verifier's cross-entropy over the answer's span less that over the whole response."""
    missing = "no data of these records has an answer span apart from the whole response"
    return separation_contrast(
        evidence, claim, "cross_entropy verifier answer", "cross_entropy verifier response", missing
    )


def separation_contrast(evidence: Evidence, claim: Claim, one: str, other: str, missing: str) -> Result:
    """AUROC of one signal less another's on the same responses, record by record."""
    parts = [
        auroc_part(called(found), pooled_difference(*found.wins(one, other)))
        for found in map(Separation, evidence.separation)
        if one in found.values and other in found.values
    ]
    return decide(parts, claim.rule, missing)


def called(one: Separation) -> str:
    """A separation's data, generator and verifier."""
    return f"{one.record.data}: {one.name}, verifier {one.record.verifier}"
