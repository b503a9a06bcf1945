"""Whether a judge is a model that has a part in what it judges, or of the family of one, by their names."""

import re
from collections.abc import Iterable, Mapping, Sequence

Party = tuple[str, str, list[str]]
"""What has a part in the responses: generator or verifier, its family, its checkpoints."""


def generator_parties(generators: Iterable[str]) -> list[Party]:
    """The models that made what is judged, as `kinship` takes them."""
    return [("generator", family_of(name), [name]) for name in generators]


def overlap_warnings(judges: Mapping[str, str], parties: Sequence[Party]) -> list[str]:
    """A warning for each judge, a model by its field, that is a party or of its family by its name."""
    warnings = []
    for field, model in judges.items():
        for party, family, checkpoints in parties:
            if model in checkpoints:
                warnings.append(f"{field}={model} is the {party}")
            elif family and family in model.lower():
                warnings.append(f"{field}={model} is of the family of the {party} ({family})")
    return list(dict.fromkeys(warnings))


def family_of(name: str) -> str:
    """What a checkpoint's own name begins with, such as qwen; empty where that is too short to tell anything."""
    found = re.match(r"[a-z]{3,}", re.split("[/:]", name.lower())[-1])
    return found[0] if found else ""
