"""Settings and provenance of the runs of one scale: shared values once, the others by run."""

from collections.abc import Sequence
from typing import Any

from analysis.records.builds import seed_names
from analysis.records.names import flatten_config
from cme.records import RunRecord


def provenance_of(records: Sequence[RunRecord]) -> dict[str, Any]:
    """The provenance of records of one scale, by its names in the page's template.

    `settings` and `versions` hold the fields with the same value in all runs; `runs` the others of each run, and the
    `facts` of its record.
    """
    settings = [set(flatten_config(record.config)) for record in records]
    versions = [set(record.environment.items()) for record in records]
    shared, common = set.intersection(*settings), set.intersection(*versions)
    return {
        "settings": sorted(shared),
        "versions": sorted(common),
        "runs": [
            {
                "run_id": record.run_id,
                "facts": run_facts(record),
                "settings": sorted(own - shared),
                "versions": sorted(software - common),
            }
            for record, own, software in zip(records, settings, versions, strict=True)
        ],
    }


def run_facts(record: RunRecord) -> list[tuple[str, str]]:
    """Facts of a run other than its configuration and environment."""
    facts = {
        "generator": record.generator_checkpoint,
        "verifier": record.verifier_checkpoint,
        "held-out verifier": record.heldout_checkpoint,
        "language model (surprisal)": record.language_model,
        "judge": record.judge,
        "further judges": ", ".join(further.name for further in record.further_judges or []),
        "experiment": record.experiment,
        "seed": seed_names([record.seed]),
        "training steps": str(record.last_step),
        "stopped": record.stopped,
        "seconds": ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in record.seconds.items()),
    }
    return [(name, value) for name, value in facts.items() if value]
