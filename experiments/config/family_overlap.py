"""Warnings for judges that judge their own responses or those of their model family, by the names of the models."""

import re
from collections.abc import Iterable, Mapping, Sequence

Party = tuple[str, str, list[str]]
"""The role of a model (generator, verifier, comparator), its family, and its checkpoints."""


def generator_parties(generators: Iterable[str]) -> list[Party]:
    """The models that generated the responses, as `overlap_warnings` takes them."""
    return [("generator", family_of(name), [name]) for name in generators]


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
