"""Warnings for models with two parts in a run, and for judges of their own responses or of their model family's."""

import re
from collections.abc import Iterable, Mapping, Sequence

from experiments.config import identity
from experiments.config.runs import Run

Party = tuple[str, str, list[str]]
"""The role of a model (generator, verifier, comparator), its family, and its checkpoints."""


def generator_parties(generators: Iterable[str]) -> list[Party]:
    """The models that generated the responses, as `overlap_warnings` takes them."""
    return [("generator", family_of(name), [name]) for name in generators]


def run_warnings(run: Run, others: Sequence[Party] = ()) -> list[str]:
    """The warnings of a run. If `others` made the responses that are judged, judges are compared with them alone."""
    judges = {path: identity.judge_fields(judge) for path, judge in run.judges.items()}
    of_evaluation = [settings for path, settings in judges.items() if path.startswith("judge")]
    warnings = [
        f"{path}={judge.name} is also the judge of the evaluation: the policy is trained on what it is measured by"
        for path, judge in run.reward_judges.items()
        if judges[path] in of_evaluation
    ]
    if run.experiment.independent_verifier and run.generator in run.verifiers:
        warnings.append(
            f"verifier equals generator ({run.generator}), but the experiment claims an independent verifier"
        )
    parties = list(others) or [
        ("generator", run.family.name, [run.generator]),
        *([("verifier", run.verifier.family, run.verifiers)] if run.verifiers else []),
        *((f"comparator {name}", family_of(c), [c]) for name, c in run.comparators.items()),
    ]
    models = {
        f"{path}.{key}": str(judge.arguments.get(key) or "")
        for path, judge in run.judges.items()
        for key in ("model", "checkpoint", "annotator")
    }
    return warnings + overlap_warnings(models, parties)


def overlap_warnings(judges: Mapping[str, str], parties: Sequence[Party]) -> list[str]:
    """A warning for each judge (its model by configuration field) that is a party, or of the family of one.

    A judge is of a family if its name contains the first letters of the family's, such as qwen for `qwen_math`.
    """
    warnings = []
    for field, model in judges.items():
        for party, name, checkpoints in parties:
            family = family_of(name) or name
            if _without_revision(model) in map(_without_revision, checkpoints):
                warnings.append(f"{field}={model} is the {party}")
            elif family and family in model.lower():
                warnings.append(f"{field}={model} is of the family of the {party} ({family})")
    return list(dict.fromkeys(warnings))


def _without_revision(checkpoint: str) -> str:
    return checkpoint.partition("@")[0]


def family_of(name: str) -> str:
    """The first letters of a checkpoint's name, such as qwen; empty for fewer than three."""
    family = re.match(r"[a-z]{3,}", re.split("[/:]", name.lower())[-1])
    return family[0] if family else ""
