"""Settings and provenance of the runs of one scale: shared values once, the others by run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.records.builds import seed_names
from analysis.records.names import flatten_config
from cme.records import RunRecord

Fields = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Run:
    """One run: `facts` of its record, and the `settings` and `versions` that not all runs of its scale share."""

    run_id: str
    facts: Fields
    settings: Fields
    versions: Fields


@dataclass(frozen=True)
class Provenance:
    """The runs of one scale; `settings` and `versions` hold the values that all runs share."""

    scale: str
    settings: Fields
    versions: Fields
    runs: Sequence[Run]


def provenance_of(records: Sequence[RunRecord]) -> Provenance:
    """The provenance of records of one scale."""
    settings = [dict(flatten_config(record.config)) for record in records]
    shared, common = shared_fields(settings), shared_fields([record.environment for record in records])

    def run(record: RunRecord, own: Mapping[str, str]) -> Run:
        versions = other_fields(record.environment, common)
        return Run(record.run_id, run_facts(record), other_fields(own, shared), versions)

    runs = list(map(run, records, settings))
    return Provenance(records[0].scale, sorted(shared.items()), sorted(common.items()), runs)


def shared_fields(fields: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The fields with the same value in every run."""
    first, *others = fields
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}


def other_fields(fields: Mapping[str, str], common: Mapping[str, str]) -> Fields:
    """The fields that are not shared, sorted."""
    return sorted((name, value) for name, value in fields.items() if name not in common)


def run_facts(record: RunRecord) -> Fields:
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
