"""The sections of the report that belong to no experiment, each declared by its tables, its frame and its figures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic

import pandas as pd

from analysis.figures.confounds import confound_plots
from analysis.figures.drift import drift_plot
from analysis.figures.faults import fault_plots
from analysis.figures.reward_probe import reward_probe_plot
from analysis.figures.separation import separation_plots
from analysis.figures.style import Plot
from analysis.figures.trajectory import trajectory_plots
from analysis.sections.base import Part, Section, T, group_by_scale, write_part
from analysis.tables.accuracy import accuracy_frame, accuracy_table, capability_frame, capability_table
from analysis.tables.faults import fault_frame, fault_tables
from analysis.tables.judging.benchmarks import benchmark_frame, benchmark_table
from analysis.tables.judging.confounds import confound_frame, confound_tables
from analysis.tables.judging.controlled import ControlledCell
from analysis.tables.judging.judges import sanity_frame, sanity_table
from analysis.tables.published_separation import published_frame, published_table
from analysis.tables.render import Table, slug
from analysis.tables.reward_probe import reward_probe_frame, reward_probe_table
from analysis.tables.separation import (
    Separation,
    contrast_table,
    group_by_data,
    separation_frame,
    signal_table,
)
from analysis.tables.training.drift import drift_frame, drift_table
from analysis.tables.training.trajectory import trajectory_frame, trajectory_table
from cme.records import RewardProbeRecord, RunRecord, SanityRecord, SeparationRecord


@dataclass(frozen=True)
class Topic(Generic[T]):
    """A section with one part per scale, from functions of the records of one scale.

    `id` is the section's anchor in the page. The names of its tables' files are the scale and `stem`, by default `id`.
    `frame` is what the tables show, unrounded.
    """

    id: str
    title: str
    intro: str
    tables: Callable[[Sequence[T]], Sequence[Table]]
    frame: Callable[[Sequence[T]], pd.DataFrame]
    plots: Callable[[Sequence[T]], Sequence[Plot]] = lambda records: ()
    stem: str = ""

    def write(self, records: Sequence[T], out: Path) -> Section:
        """Write the tables and figures of every scale; returns the section, without a part if there is no record."""
        parts = [
            write_part(
                f"{slug(scale)}-{self.stem or self.id}",
                *(self.tables(group), self.frame(group), self.plots(group)),
                out,
            )
            for scale, group in group_by_scale(records)
        ]
        return Section(self.id, self.title, self.intro, parts)


ACCURACY = Topic[RunRecord](
    id="accuracy",
    title="Mathematics: accuracy before and after",
    intro="Whether the answers are right: the untrained model and the trained policy on the same prompts.",
    tables=lambda runs: [accuracy_table(runs)],
    frame=accuracy_frame,
)
BENCHMARKS = Topic[ControlledCell](
    id="benchmarks",
    title="Arena-Hard, WildBench and AlpacaEval 2 by their own measures",
    intro="The tables of win rates count every verdict once. These benchmarks count the verdicts of their judges by "
    "rules of their own.",
    tables=lambda cells: [benchmark_table(cells)],
    frame=benchmark_frame,
)
CONFOUNDS = Topic[ControlledCell](
    id="confounds",
    title="Judge bias: length and likelihood",
    intro="A judge that prefers longer or likelier text rewards these effects of training along with quality. Win "
    "rates at equal length and at equal surprisal under an independent language model try to remove the bias; where "
    "the truth is known, the last table gives the distance of each attempt from it.",
    tables=confound_tables,
    frame=confound_frame,
    plots=confound_plots,
)
FAULTS = Topic[RunRecord](
    id="faults",
    title="Which faults does a reward repair?",
    intro="Where the truth is known, every response has a grade: quality, main fault, and which requested parts are "
    "right. A reward repairs a fault that its policy shows less often than the untrained model, and makes one that it "
    "shows more often.",
    tables=fault_tables,
    frame=fault_frame,
    plots=fault_plots,
)
SANITY = Topic[SanityRecord](
    id="judges",
    stem="sanity",
    title="Can the judges be trusted?",
    intro="Each judge compared the model's own responses with opponents that are no better. Its verdicts on trained "
    "policies are no more reliable than these.",
    tables=lambda records: [sanity_table(records)],
    frame=sanity_frame,
)
TRAJECTORY = Topic[RunRecord](
    id="trajectory",
    title="During training: saved checkpoints, the selected and the final one",
    intro="Checkpoints were compared on separate prompts by a separate judge; the selected and the final policy were "
    "compared on the evaluation prompts alone.",
    tables=lambda runs: [trajectory_table(runs)],
    frame=trajectory_frame,
    plots=trajectory_plots,
)
CAPABILITIES = Topic[RunRecord](
    id="capabilities",
    title="Capabilities before and after training",
    intro="lm-eval's tasks: the untrained model and the trained policy on the same items.",
    tables=lambda runs: [capability_table(runs)],
    frame=capability_frame,
)
REWARD_PROBE = Topic[RewardProbeRecord](
    id="reward-probe",
    title="Before any training: how each reward ranks answers of known quality",
    intro="No model was trained for these tables. If a reward ranks another answer above the right one, training on "
    "it can raise the reward without better answers.",
    tables=lambda records: [reward_probe_table(record) for record in records],
    frame=reward_probe_frame,
    plots=lambda records: [reward_probe_plot(records)],
)
SEPARATION = Topic[SeparationRecord](
    id="separation",
    title="Before any training: which signal separates wrong responses from right ones?",
    intro="An untrained generator answered each prompt several times. A signal that is no higher for its wrong "
    "responses than for its right ones cannot lead it to right ones; length is the control.",
    tables=lambda records: [
        make(own) for own in group_by_data(records) for make in (signal_table, contrast_table)
    ],
    frame=lambda records: separation_frame([Separation(record) for record in records]),
    plots=lambda records: [plot for same in group_by_data(records) for plot in separation_plots(same)],
)


def separation_section(records: Sequence[SeparationRecord], out: Path) -> Section:
    """The section on separation, with the published figures in full as its last part."""
    section = SEPARATION.write(records, out)
    if not section.parts:
        return section
    published = write_part("published-separation", [published_table()], published_frame(), [], out)
    return replace(section, parts=[*section.parts, published])


def drift_part(
    runs: Sequence[RunRecord], name: str, subject: str, out: Path, labels: Mapping[str, str] | None = None
) -> Part:
    """Write the drift of an experiment's runs of one scale: `name` is for files, `subject` for titles.

    `labels` gives the runs' methods by run id, by default `method_names`.
    """
    frame, scale = drift_frame(runs, labels), runs[0].scale
    table = replace(drift_table(frame, subject, scale), name=f"drift-{slug(name)}-{slug(scale)}")
    plot = replace(drift_plot(frame, subject, scale), name=table.name)
    return write_part(f"{slug(scale)}-{slug(name)}-drift", [table], frame, [plot], out)
