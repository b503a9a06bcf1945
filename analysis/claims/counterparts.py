"""Every published table and figure, and its counterpart here."""

from pathlib import Path

from analysis.records.names import SCALES
from analysis.tables.render import Entry, Table

OVERVIEW = " ".join(f"tables/{scale}.md figures/win-rates-{scale}-*.png" for scale in SCALES)
IMPORTED = "tables/imported.md figures/win-rates-imported-*.png"
SWEEP = " ".join(f"figures/verifier-sweep-{scale}-*.png" for scale in SCALES)


def named(*names: str) -> str:
    """The patterns of the tables and figures with these words in their names."""
    return " ".join(f"tables/*{name}*.md figures/*{name}*.png" for name in names)


COUNTERPARTS = {
    "main table: win rates by family and regime": (
        "main_table.csv",
        "experiment=main_table",
        f"{OVERVIEW} {named('main-table')}",
    ),
    "settings of the seven cells": (
        "main_table.csv",
        "scale=paper (conf/family, conf/trainer), plan=true",
        "",
    ),
    "win rates against the instruct model and a fixed reference": (
        "verifier_sweep_quality.csv, released_evaluation.csv, fixed_reference.csv",
        "experiment=main_table (comparators=paper); python -m experiments judge on any two files of outputs",
        "tables/*-main-table-comparators.csv tables/imported.md",
    ),
    "baselines: token entropy, random-weight verifier, DPO, SFT, ground truth": (
        "none",
        "experiment=rewards",
        "tables/*-rewards.md figures/rewards-*.png",
    ),
    "baselines' own settings": ("baselines.csv", "scale=paper preset=paper (conf/source)", ""),
    "verifier sweep, quality": (
        "verifier_sweep_quality.csv",
        "experiment=verifier_sweep",
        f"tables/*-verifier-sweep.md {SWEEP}",
    ),
    "verifier sweep, mathematics": (
        "verifier_sweep_math.csv, verifier_sweep_math_steps.csv",
        "experiment=verifier_sweep_math, verifier_sweep_math_llama, verifier_sweep_math_qwen",
        named("verifier-sweep-math"),
    ),
    "accuracy on MATH-500, AMC-23 and AIME-24 before and after": (
        "math_accuracy.csv",
        "experiment=math; scale=paper data=math, math_amc23, math_aime24",
        "tables/*-accuracy.md tables/*-math.md figures/math-*.png",
    ),
    "separation: AUROC, distributions, scatter": (
        "separation_math500.csv, separation_amc23.csv, separation_by_verifier.csv",
        "experiment=separation",
        named("separation"),
    ),
    "ablation: dense, scalar, reverse KL": (
        "none",
        "experiment=granularity (scale=paper: preset=dense_study)",
        named("granularity"),
    ),
    "ablation and collapse study: group_std, group_mean": (
        "none",
        "experiment=advantage_norm",
        named("advantage-norm"),
    ),
    "ablation: KL weight": ("main_table.csv", "experiment=kl_beta", named("kl-beta")),
    "the verifier's predictive entropy as reward, mathematics": (
        "none",
        "experiment=predictive_entropy",
        named("predictive-entropy"),
    ),
    "training curves": ("none", "every run", "figures/training-*.png figures/trained-rewards-*.png"),
    "one released evaluation, both judges": (
        "released_evaluation.csv",
        "python -m experiments import",
        IMPORTED,
    ),
    "position, failed calls, length in the released verdicts": (
        "evaluation.csv",
        "every run, experiment=judge_sanity",
        f"{OVERVIEW} {IMPORTED} tables/*confounds*.md tables/*sanity*.md figures/confounds-*.png",
    ),
    "checkpoint chosen by the judge": (
        "evaluation.csv",
        "selection.every=N, with separate prompts and a separate judge",
        "tables/*trajectory*.md tables/*selection*.md figures/trajectory-*.png",
    ),
    "argued, not run: independence, no over-optimisation; only here: group size": (
        "none",
        "experiment=independence, overoptimisation, group_size",
        named("independence", "overoptimisation", "group-size"),
    ),
}
"""By published table or figure: the file of its numbers, the command that makes ours, and patterns of our files."""


def counterpart_table(out: Path) -> Table:
    """The list, with the files that exist under `out`."""
    rows = [
        [Entry(shows), Entry(numbers), Entry(made_by), Entry(existing(patterns, out))]
        for shows, (numbers, made_by, patterns) in COUNTERPARTS.items()
    ]
    return Table(
        name="counterparts",
        title="Published tables and figures, and their counterparts here",
        header=["published", "its numbers, results/published", "made here by", "files here"],
        groups=[rows],
        notes=[
            "Tables exist as .md, .tex and, unrounded, .csv; figures as .png and .svg. Experiments: python run.py -m "
            "experiment=NAME.",
            "none yet: these records have no runs for it. -: settings, without a table or figure.",
        ],
    )


def existing(patterns: str, out: Path) -> str:
    """The files of a counterpart that exist."""
    names = {path.relative_to(out).as_posix() for pattern in patterns.split() for path in out.glob(pattern)}
    return ", ".join(sorted(names)) or ("none yet" if patterns else "-")
