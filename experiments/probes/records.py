"""What the records of all probes share: the fields that describe the cell, and the printed table."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cme.runtime.terminal import plain
from experiments.config.runs import Run
from experiments.run import inputs, provenance

if TYPE_CHECKING:
    from analysis.tables.render import Table


def record_fields(run: Run, checkpoints: Iterable[str]) -> dict[str, Any]:
    """The fields by which a record describes its cell; makes the checkpoints loadable, whose weights are among them.

    Raises as `inputs.resolve_weights` and `provenance.record_commits` do.
    """
    weights = inputs.resolve_weights(checkpoints, run.served_verifiers)
    return {
        "scale": run.scale.name,
        "family": run.family.name,
        "regime": run.regime,
        "seed": run.seed,
        "generator_checkpoint": run.generator,
        "config": run.settings,
        "environment": provenance.record_origin(run, weights),
    }


def print_record(path: Path, table: "Table", warnings: Sequence[str] = ()) -> None:
    """Print the table of a record, its warnings on stderr, and its path."""
    from analysis.tables.render import to_markdown

    print(to_markdown(table))
    for warning in warnings:
        print(plain(f"warning: {warning}"), file=sys.stderr)
    print(f"record: {path}")
