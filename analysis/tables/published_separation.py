"""The published figures of separation, and the names of the signals."""

from pathlib import Path
from typing import Any

import pandas as pd

from analysis.tables.render import Column, Table, build_table, rows_by
from cme.runtime import shipped

PUBLISHED = shipped.PUBLISHED / "separation_math500.csv"
PUBLISHED_AMC23 = shipped.PUBLISHED / "separation_amc23.csv"
SOURCE = (
    "Published: Gorbett and Shirazi, arXiv 2605.29009, plot data of mattgorb/cme-grpo; MATH-500, 100 problems x 8 "
    "samples, four generators, at the paper's scale. Not comparable in size with ours: other models, other problems."
)
MEASURES = {"ce": "cross_entropy", "h": "predictive_entropy"}
"""Measures by their name in the published file."""
SPANS = {"full": "response", "answer": "answer"}
MODELS = ("verifier", "generator")
LENGTH = "length generator response"
SIGNALS = (
    *(f"{m} {model} {span}" for m in MEASURES.values() for span in SPANS.values() for model in MODELS),
    LENGTH,
)
"""Signals in the order of tables and figures."""


def signal_label(signal: str) -> str:
    """A signal in words, such as `cross-entropy, verifier, answer`."""
    if signal == LENGTH:
        return "length"
    return ", ".join(signal.replace("cross_entropy", "cross-entropy").split()).replace("_", " ")


def published_frame(file: Path = PUBLISHED) -> pd.DataFrame:
    """The published figures of a file, one row per generator and signal, with our names of the signals."""
    frame = pd.read_csv(file)
    parts = frame["metric"].str.split("_", expand=True)
    signal = parts[0].map(MEASURES) + " " + parts[1] + " " + parts[2].map(SPANS)
    return frame.assign(signal=signal, auroc=frame["auroc_wrong_gt_correct"])


def published_table() -> Table:
    """The published figures in full: MATH-500, then AMC23."""
    files = {"MATH-500": PUBLISHED, "AMC23": PUBLISHED_AMC23}
    frame = pd.concat(published_frame(file).assign(problems=name) for name, file in files.items())
    orders = {
        "problems": list(files),
        "generator": list(dict.fromkeys(frame["generator"])),
        "signal": SIGNALS,
    }
    frame = frame.sort_values(list(orders), key=lambda column: column.map(orders[str(column.name)].index))

    def spread(row: dict[str, Any], kind: str) -> str:
        return f"{row[f'{kind}_mean']:.3g} ({row[f'{kind}_std']:.2g})" if row[f"{kind}_n"] > 0 else "-"

    def count(row: dict[str, Any], kind: str) -> str:
        return f"{row[f'{kind}_n']:.0f}" if row[f"{kind}_n"] > 0 else "-"

    return build_table(
        name="separation-published",
        title="Published: AUROC of each signal for wrong against correct responses (the paper's scale)",
        columns=[
            Column("problems", lambda row: row["problems"], once=True),
            Column("generator", lambda row: row["generator"], once=True),
            Column("accuracy", lambda row: f"{row['generator_accuracy']:.3f}", once=True),
            Column("signal", lambda row: signal_label(row["signal"])),
            Column("AUROC, pooled", lambda row: f"{row['auroc']:.3f}"),
            Column("correct: mean (sd)", lambda row: spread(row, "correct")),
            Column("wrong: mean (sd)", lambda row: spread(row, "wrong")),
            Column("correct", lambda row: count(row, "correct")),
            Column("wrong", lambda row: count(row, "wrong")),
        ],
        groups=rows_by(frame, "problems", "generator", "generator_accuracy"),
        notes=[
            SOURCE,
            "The paper published no interval and none within prompts. -: the repository's history has the AUROC alone. "
            "Fewer responses than 800 are counted. The accuracies are shares of all 800, so responses that are left "
            "out count as wrong in them; presumably these have no answer.",
        ],
    )
