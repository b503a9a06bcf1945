"""The report's section on what else than quality can win comparisons."""

from collections.abc import Sequence
from pathlib import Path

from analysis.cells import Cell
from analysis.confound_figure import confound_plot
from analysis.confounds import confound_frame, confound_tables, controlled_cells, language_models
from analysis.render import slug
from analysis.sections import Part, Section, by_scale, image_of, write_tables
from analysis.taste import truth_table
from cme.records import RunRecord


def confound_section(records: Sequence[RunRecord], cells: Sequence[Cell], out: Path) -> Section:
    """The controlled win rates, scale by scale; those without a scored verdict have none."""
    parts = []
    for scale, own in by_scale(records):
        controlled = controlled_cells(own, [cell for cell in cells if cell.scale == scale])
        if not controlled:
            continue
        truth = truth_table(controlled)
        tables = [*confound_tables(controlled, language_models(own)), *([] if truth is None else [truth])]
        write_tables(tables, confound_frame(controlled), out / "tables" / f"{slug(scale)}-confounds")
        plot = confound_plot(controlled)
        images = [] if plot is None else [image_of(plot.save(out / "figures"), plot.caption)]
        parts.append(Part(tables, images))
    return Section(
        "confounds",
        "What else can win: length, and the judge's taste",
        "A judge that likes longer or likelier text rewards what the training changed along with quality. Win rates at "
        "equal length and at equal surprisal under an independent language model try to take that out; where the "
        "truth is known, the last table says how far each attempt is from it.",
        parts,
    )
