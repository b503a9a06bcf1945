"""A section of the report for each named experiment, one module here each.

A module has a `TITLE`, an `INTRO` that says what is asked and what would refute it, and
`part(runs, scale, out) -> Part`, which writes the tables and figures of one scale.
"""

from dataclasses import replace
from importlib import import_module
from pathlib import Path

from analysis.read import Records
from analysis.sections import Part, Section

NAMES: tuple[str, ...] = (
    "main_table",
    "rewards",
    "verifier_sweep",
    "granularity",
    "advantage_norm",
    "kl_beta",
    "group_size",
    "independence",
    "overoptimisation",
    "math",
)
"""The experiments that have a section, in the order of the report."""


def experiment_sections(records: Records, out: Path) -> list[Section]:
    """The sections of the experiments of which there are runs, with how many runs they are short of."""
    sections = []
    for name in NAMES:
        module = import_module(f"analysis.experiments.{name}")
        parts: list[Part] = []
        for experiment in records.experiments:
            runs = records.of(experiment)
            if experiment.name != name or not runs:
                continue
            part: Part = module.part(runs, experiment.scale, out)
            if owed := len(experiment.runs) - len(runs):
                first, *others = part.tables
                note = f"{owed} of the experiment's {len(experiment.runs)} runs have no record yet."
                part = Part([replace(first, notes=[*first.notes, note]), *others], part.images)
            parts.append(part)
        if parts:
            sections.append(Section(name.replace("_", "-"), module.TITLE, module.INTRO, parts))
    return sections
