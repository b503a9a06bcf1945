"""The main result: CME against the untrained model in every family and regime, next to the published range."""

from collections.abc import Iterator

from analysis.experiments.base import Column, Experiment, build_table, file_name
from analysis.experiments.comparators import comparators
from analysis.experiments.method_tables import evidence, methods_frame, seeds
from analysis.experiments.methods import JudgedMethods, Methods
from analysis.experiments.reward_verdicts import verdict_table
from analysis.figures.style import Plot
from analysis.figures.win_rates import controls_of, main_plot
from analysis.records.names import display_name, judge_label
from analysis.records.published import main_table_range, read_published, sources_of
from analysis.tables.cells import place
from analysis.tables.findings import cell_verdict
from analysis.tables.render import Table, format_interval, format_percent
from analysis.tables.win_rates import cut_start_tables, quality_table, win_rate_table


def win_rate_tables(view: JudgedMethods) -> Iterator[Table]:
    """The win rates, those against the cut start, and the judge's scores: families as rows, regimes as columns."""
    if view.cells:
        yield win_rate_table(view.cells)
        yield from cut_start_tables(view.cells)
    if any(cell.quality is not None for cell in view.cells):
        yield quality_table(view.cells)


def published_table(view: JudgedMethods) -> Iterator[Table]:
    """The published range and ours, each in its own column; only CME has a published one."""
    ours = [cell for cell in view.cells if cell.reward == "cme"]
    if not ours:
        return
    low, high = main_table_range()
    published_cells = int((read_published("main_table.csv")["generator"] != "all").sum())
    rated = sorted((c for c in ours if c.win.verdicts > c.win.unscored), key=lambda cell: cell.win.rate)
    ends = [
        f"{format_percent(cell.win.rate)} {format_interval(cell.win.lo, cell.win.hi)} ({place(cell)})"
        for cell in rated
    ] or ["n/a"]
    verdicts = [cell_verdict(cell) for cell in ours]
    rows = [
        ("lowest win rate of a cell (%)", format_percent(low), ends[0]),
        ("highest win rate of a cell (%)", format_percent(high), ends[-1]),
        ("cells", f"{published_cells} have a configuration", str(len(ours))),
        ("cells whose interval lies above 50 %", "no interval published", str(verdicts.count("won"))),
        ("cells whose interval lies below 50 %", "no interval published", str(verdicts.count("lost"))),
    ]
    yield build_table(
        name=file_name("published", view.scale, view.judge),
        title=(
            f"CME against its untrained model: published, and ours at scale: {view.scale}, "
            f"judge: {judge_label(view.judge)}"
        ),
        columns=[
            Column("", lambda row: row[0]),
            Column(
                f"published ({published_scale(view.scale)})",
                lambda row: row[1],
                f"Published: {sources_of()['main_table.csv']}. Four families, three regimes; LLM judges, one order per "
                "pair; ours: both orders. Each column has its own scale, models, prompts and judge: compare the sides "
                "of 50 %, not the sizes.",
            ),
            Column(
                f"ours (scale: {view.scale})",
                lambda row: row[2],
                "Ours: in brackets the 95 % interval over prompts. Above or below: the whole interval is, on 30 "
                "prompts or more, without correction for the number of cells.",
            ),
        ],
        groups=[rows],
    )


def published_scale(scale: str) -> str:
    """How the published scale compares with one of ours."""
    return "the paper's scale" if scale == "paper" else "other scale"


def win_rate_figure(view: JudgedMethods) -> Iterator[Plot]:
    """The win rates and scores of every cell, with the published range."""
    if view.cells:
        name = file_name("win-rates", view.scale, view.judge)
        source = f"{sources_of()['main_table.csv']}; {published_scale(view.scale)}"
        yield main_plot(name, view.cells, main_table_range(), source, controls_of(view.cells))


MAIN_TABLE = Experiment(
    name="main_table",
    title="The main table: CME against its untrained model",
    question=(
        "The paper's claim: a model trained with CME beats its untrained self in four families and three regimes. A "
        "cell refutes the claim here if the whole interval of its win rate lies below 50 %, and does not support it if "
        "the interval covers 50 %. The paper publishes only the range of the win rates, without cells or intervals. It "
        "used other models, prompts and judges, so only the side of 50 % can be compared. Beating a weak model proves "
        "little: if the runs were compared with the family's instruct model and a fixed reference, the policy and the "
        "untrained model are compared on the same prompts."
    ),
    views=Methods("CME against its untrained model", "reward", lambda run: display_name(run.reward)),
    tables=(win_rate_tables, verdict_table, published_table, seeds, evidence),
    figures=(win_rate_figure,),
    frame=methods_frame,
    appendices=(comparators,),
)
