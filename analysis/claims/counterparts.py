"""Every published table and figure, and what stands in its place here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.records.names import SCALES
from analysis.tables.render import Entry, Table


@dataclass(frozen=True)
class Counterpart:
    """A published table or figure: the file of its numbers here, what makes ours, and the names of our files."""

    shows: str
    numbers: str
    made_by: str
    files: Sequence[str]


OVERVIEW = ("tables/miniature.md", "tables/laptop.md", "tables/paper.md", "figures/win-rates-*.png")
COUNTERPARTS = (
    Counterpart(
        "main table: win rates by family and regime",
        "main_table.csv",
        "experiment=main_table",
        (*OVERVIEW, "tables/*main-table*.md", "figures/*main-table*.png"),
    ),
    Counterpart(
        "settings of the seven cells",
        "main_table.csv",
        "scale=paper (conf/cell, conf/trainer), plan=true",
        (),
    ),
    Counterpart(
        "win rates against the instruct model and a fixed reference",
        "verifier_sweep_quality.csv, released_evaluation.csv",
        "experiment=main_table (comparators=paper); python -m experiments judge on any two files of outputs",
        ("tables/*-main-table-comparators.csv", "tables/imported.md"),
    ),
    Counterpart(
        "baselines: token entropy, random-weight verifier, DPO, SFT, ground truth",
        "none",
        "experiment=rewards",
        ("tables/*-rewards.md", "figures/rewards-*.png"),
    ),
    Counterpart("baselines' own settings", "baselines.csv", "scale=paper preset=paper (conf/source)", ()),
    Counterpart(
        "verifier sweep, quality",
        "verifier_sweep_quality.csv",
        "experiment=verifier_sweep",
        ("tables/*-verifier-sweep.md", *(f"figures/verifier-sweep-{scale}-*.png" for scale in SCALES)),
    ),
    Counterpart(
        "verifier sweep, mathematics",
        "verifier_sweep_math.csv",
        "experiment=verifier_sweep_math",
        ("tables/*verifier-sweep-math*.md", "figures/*verifier-sweep-math*.png"),
    ),
    Counterpart(
        "accuracy on MATH-500, AMC-23 and AIME-24 before and after",
        "math_accuracy.csv",
        "experiment=math; scale=paper data=math, math_amc23, math_aime24",
        ("tables/*-accuracy.md", "tables/*-math.md", "figures/math-*.png"),
    ),
    Counterpart(
        "separation: AUROC, distributions, scatter",
        "separation_math500.csv",
        "experiment=separation",
        ("tables/*separation*.md", "figures/*separation*.png"),
    ),
    Counterpart(
        "ablation: dense, scalar, reverse KL",
        "none",
        "experiment=granularity",
        ("tables/*granularity*.md", "figures/*granularity*.png"),
    ),
    Counterpart(
        "ablation and collapse study: group_std, group_mean",
        "none",
        "experiment=advantage_norm",
        ("tables/*advantage-norm*.md", "figures/*advantage-norm*.png"),
    ),
    Counterpart(
        "ablation: KL weight",
        "main_table.csv",
        "experiment=kl_beta",
        ("tables/*kl-beta*.md", "figures/*kl-beta*.png"),
    ),
    Counterpart(
        "training curves",
        "none",
        "every run",
        ("figures/training-*.png", "figures/trained-rewards-*.png"),
    ),
    Counterpart(
        "one released evaluation, both judges",
        "released_evaluation.csv",
        "python -m experiments import",
        ("tables/imported.md",),
    ),
    Counterpart(
        "position, failed calls, length in the released verdicts",
        "evaluation.csv",
        "every run, experiment=judge_sanity",
        (*OVERVIEW, "tables/*confounds*.md", "tables/*sanity*.md", "figures/confounds-*.png"),
    ),
    Counterpart(
        "checkpoint chosen by the judge",
        "evaluation.csv",
        "selection.every=N, on prompts and by a judge of their own",
        ("tables/*trajectory*.md", "tables/*selection*.md", "figures/trajectory-*.png"),
    ),
    Counterpart(
        "argued, not run: independence, no over-optimisation; ours alone: group size",
        "none",
        "experiment=independence, overoptimisation, group_size",
        tuple(
            f"{folder}/*{name}*.{kind}"
            for name in ("independence", "overoptimisation", "group-size")
            for folder, kind in (("tables", "md"), ("figures", "png"))
        ),
    ),
)


def counterpart_table(out: Path) -> Table:
    """The list, with the files that there are under `out`."""
    rows = [[Entry(c.shows), Entry(c.numbers), Entry(c.made_by), Entry(found(c, out))] for c in COUNTERPARTS]
    return Table(
        name="counterparts",
        title="Published tables and figures, and their counterparts here",
        header=["published", "its numbers, results/published", "made here by", "files here"],
        groups=[rows],
        notes=[
            "Tables are there as .md, .tex and, unrounded, .csv; figures as .png and .svg. Experiments: "
            "python run.py -m experiment=NAME.",
            "none yet: these records have no runs for it. -: it is settings, and no table or figure.",
        ],
    )


def found(counterpart: Counterpart, out: Path) -> str:
    """The files of a counterpart that exist."""
    if not counterpart.files:
        return "-"
    names = {path.relative_to(out).as_posix() for pattern in counterpart.files for path in out.glob(pattern)}
    return ", ".join(sorted(names)) or "none yet"
