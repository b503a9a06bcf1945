"""Drift from the untrained model as a figure: a panel per metric, a row per method."""

from dataclasses import replace
from math import nan

import pandas as pd

from analysis.figures.forest import Block, Dot, Panel, forest
from analysis.figures.style import UNTRAINED, Plot, method_styles
from analysis.records.names import generator_name
from analysis.tables.render import slug
from analysis.tables.training.drift import MATCHED, METRICS, OTHERS

COLUMNS = 4  # of panels
POLICY = "s"  # for every method: a triangle would pass for an arrow, and a round mark for the start


def drift_plot(frame: pd.DataFrame, name: str, scale: str) -> Plot:
    """A panel for each metric of a drift frame, a row for each method: gray dot the start, square the policy."""
    styles = method_styles(dict(zip(frame["method"], frame["reward"], strict=True)))
    policies = {method: replace(style, marker=POLICY) for method, style in styles.items()}
    generators = [generator_name(*place) for place in zip(frame["family"], frame["regime"], strict=True)]
    frame = frame.assign(generator=generators)
    rows: dict[str, str] = {}
    for generator, method in zip(generators, frame["method"], strict=True):
        rows |= {generator: generator, f"{generator}\n{method}": method}
    panels = []
    for metric in (metric for metric in METRICS if metric.name in set(frame["metric"])):
        dots = []
        for line in frame[frame["metric"] == metric.name].to_dict("records"):
            row, start, policy = f"{line['generator']}\n{line['method']}", line["start"], line["policy"]
            seeds = start + line["seed_low"], start + line["seed_high"]
            dots.append(Dot(row, start, nan, nan, UNTRAINED, size=4.5))
            dots.append(Dot(row, policy, *seeds, policies[line["method"]], wide=(start, policy), size=4))
        panels.append(Panel(metric.unit, dots, title=metric.label))
    blocks = [Block("", rows, panels[first : first + COLUMNS]) for first in range(0, len(panels), COLUMNS)]
    legend = {"untrained model": UNTRAINED, "trained policy": next(iter(policies.values()))}
    figure = forest(f"Drift from the start: {name} (scale: {scale})", blocks, legend)
    caption = (
        f"Drift in {name} at scale {scale}: from the untrained model (gray dot) to the trained policy (square), "
        "means over seeds, joined by a thin line; the thick bar spans the lowest and the highest seed. Every panel has "
        f"its own unit: compare within a panel. {MATCHED} {OTHERS}"
    )
    return Plot(f"drift-{slug(name)}-{slug(scale)}", caption, figure)
