"""A section of the report for each named experiment, one module here each.

A module has a `TITLE`, an `INTRO` that says what is asked and what would refute it, and
`part(runs, scale, out) -> Part`, which writes the tables and figures of one scale, or raises `NothingToShow`.
"""

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

from analysis.records.read import Records
from analysis.sections.base import NothingToShow, Part, Section
from cme.records import ExperimentRecord, RunRecord

NAMES: tuple[str, ...] = (
    "main_table",
    "rewards",
    "verifier_sweep",
    "verifier_sweep_math",
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
        parts = []
        for experiment in records.experiments:
            runs = records.of(experiment)
            if experiment.name != name or not runs:
                continue
            parts.append(part_of(module, experiment, runs, out))
        if parts:
            sections.append(Section(name.replace("_", "-"), module.TITLE, module.INTRO, parts))
    return sections


def part_of(module: ModuleType, experiment: ExperimentRecord, runs: Sequence[RunRecord], out: Path) -> Part:
    """One experiment at one scale, with what it lacks in its notes."""
    scale, notes = experiment.scale, []
    if owed := len(experiment.runs) - len(runs):
        notes.append(
            f"Scale {scale}: {owed} of the experiment's {len(experiment.runs)} runs have no record yet."
        )
    try:
        part: Part = module.part(runs, scale, out)
    except NothingToShow as lack:
        return Part([], [], [*notes, f"Scale {scale}: nothing to show of its {len(runs)} runs, {lack}."])
    if not part.tables:
        notes.append(f"Scale {scale}: none of its {len(runs)} runs has a verdict, so there is no table.")
    return replace(part, notes=[*part.notes, *notes])
