"""The report's section on what else than quality can win comparisons."""

from collections.abc import Sequence
from pathlib import Path

from analysis.figures.confounds import confound_plot
from analysis.sections.base import Section, group_by_scale, write_part
from analysis.tables.cells import Cell
from analysis.tables.confounds import confound_frame, confound_tables, controlled_cells, language_models
from analysis.tables.judge_bias import truth_table
from analysis.tables.render import slug
from cme.records import RunRecord


def confound_section(records: Sequence[RunRecord], cells: Sequence[Cell], out: Path) -> Section:
    """The controlled win rates, scale by scale; those without a scored verdict have none."""
    parts = []
    for scale, own in group_by_scale(records):
        controlled = controlled_cells(own, [cell for cell in cells if cell.scale == scale])
        if not controlled:
            continue
        truth = truth_table(controlled)
        tables = [*confound_tables(controlled, language_models(own)), *([] if truth is None else [truth])]
        plot = confound_plot(controlled)
        plots = [] if plot is None else [plot]
        parts.append(write_part(f"{slug(scale)}-confounds", tables, confound_frame(controlled), plots, out))
    return Section(
        "confounds",
        "What else can win: length, and the judge's taste",
        "A judge that likes longer or likelier text rewards what the training changed along with quality. Win rates at "
        "equal length and at equal surprisal under an independent language model try to take that out; where the "
        "truth is known, the last table says how far each attempt is from it.",
        parts,
    )
