"""Published figures: CSV files at the paper's scale, each with a source in `sources.csv`."""

from collections.abc import Sequence

import pandas as pd

from cme.runtime import shipped

FOLDER = shipped.PUBLISHED
SOURCES = "sources.csv"


def read_published(name: str) -> pd.DataFrame:
    """The published file of that name. Raises ValueError that names it if it has no source."""
    if name not in sources_of():
        raise ValueError(f"{FOLDER / name} has no source; add a row with one to {SOURCES}")
    return pd.read_csv(FOLDER / name)


def sources_of() -> dict[str, str]:
    """The source of each published file."""
    frame = pd.read_csv(FOLDER / SOURCES, dtype=str, keep_default_na=False)
    return {row["file"]: row["source"] for row in frame.to_dict("records") if row["source"].strip()}


def main_table_range() -> tuple[float, float]:
    """Lowest and highest published win rate of the main table, in percent."""
    frame = read_published("main_table.csv")
    return float(frame["lowest_win_rate_pct"].min()), float(frame["highest_win_rate_pct"].max())


def published_kl_weights() -> str:
    """The number of published cells by KL weight."""
    counts = read_published("main_table.csv")["kl_beta"].dropna().value_counts().sort_index()
    return ", ".join(f"{value:g} in {count} cells" for value, count in counts.items())


def published_sweep_range(families: Sequence[str]) -> str:
    """The range of the published win rates under the verifiers of some families."""
    frame = read_published("verifier_sweep_quality.csv")
    return format_range(frame.loc[frame["verifier_family"].isin(families), "win_rate_vs_base_pct"]) + " %"


def published_auroc(metric: str) -> "pd.Series[float]":
    """The published AUROC of a signal by generator."""
    frame = read_published("separation_math500.csv")
    return frame[frame["metric"] == metric].set_index("generator")["auroc_wrong_gt_correct"]


def format_range(values: "Sequence[float] | pd.Series[float]", decimals: int = 1) -> str:
    """The lowest and the highest of some figures."""
    return f"{min(values):.{decimals}f} to {max(values):.{decimals}f}"


def format_signed(values: "pd.Series[float]") -> str:
    """Some differences with their signs."""
    return ", ".join(f"{value:+.3f}" for value in values)
