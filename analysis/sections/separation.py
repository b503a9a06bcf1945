"""The report's section on which signal tells wrong responses from right ones."""

from collections.abc import Sequence
from pathlib import Path

from analysis.figures.separation import (
    auroc_plot,
    distribution_plot,
    measured_spans,
    scatter_plot,
    verifier_plot,
)
from analysis.figures.style import Plot
from analysis.sections.base import Section, group_by_scale, write_part
from analysis.sections.separation_tables import contrast_table, published_table, signal_table
from analysis.tables.render import slug
from analysis.tables.separation import Separation, group_by_data, published_frame, separation_frame
from cme.records import SeparationRecord


def separation_section(records: Sequence[SeparationRecord], out: Path) -> Section:
    """Tables and figures scale by scale, and behind them the published figures in full."""
    parts = []
    for scale, own in group_by_scale(records):
        found = [Separation(record) for record in own]
        tables = [make(same) for same in group_by_data(found) for make in (signal_table, contrast_table)]
        plots = [plot for same in group_by_data(found) for plot in plots_of(same)]
        parts.append(write_part(f"{slug(scale)}-separation", tables, separation_frame(found), plots, out))
    if parts:
        parts.append(write_part("published-separation", [published_table()], published_frame(), [], out))
    return Section(
        "separation",
        "Before any training: which signal tells wrong responses from right ones?",
        "An untrained generator answered each prompt several times. A signal that is no higher for its wrong "
        "responses than for its right ones cannot lead it to right ones; length is the control.",
        parts,
    )


def plots_of(found: Sequence[Separation]) -> list[Plot]:
    """The figures of one scale and data: by signal under the verifier that most are of, and by verifier."""
    verifiers = [one.record.verifier for one in found]
    usual = [one for one in found if one.record.verifier == max(verifiers, key=verifiers.count)]
    several = len(set(verifiers)) > 1 and len({one.name for one in found}) < len(found)
    distributions = [distribution_plot(usual, span) for span in measured_spans(usual)]
    plots = [auroc_plot(usual), *distributions, scatter_plot(usual)]
    return [*plots, *([verifier_plot(found)] if several else [])]
