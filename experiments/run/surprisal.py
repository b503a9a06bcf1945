"""Surprisal of the evaluated responses under a language model that took no part in the run.

A judge may prefer what a language model finds likely (Wataoka et al., arXiv 2410.21819), and Cross-Model Entropy makes
responses likely; the report separates the two by these measurements. The default model of a run is its held-out
verifier, which is of a third family. Only the text is scored, without an end of turn.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cme.records import Generation, Pair, RunRecord, read_record, record_files, write_record
from cme.runtime.terminal import plain
from experiments.config.runs import reward_verifiers
from experiments.config.schema import Scoring
from experiments.run.cell import quiet_libraries
from experiments.run.inputs import resolve_weights

if TYPE_CHECKING:
    from cme.scoring.verifier import Verifier

RUNS = Path("results/runs")
SCORING = {"max_prompt_tokens": 2048, "max_response_tokens": 2048, "dtype": "float32", "batch_tokens": 4096}
"""Limits for imported responses, whose records have no field `scoring`."""


class NotIndependent(ValueError):
    """A language model that took part in the run whose responses it should measure."""


def independent_model(record: RunRecord) -> str | None:
    """The held-out verifier of a run; None if it has none, or if this verifier took part in the training."""
    return None if record.heldout_checkpoint in participants(record) else record.heldout_checkpoint


def participants(record: RunRecord) -> dict[str, str]:
    """The models that took part in a run, each with its role."""
    reward = record.config.get("reward", {})  # imported records have no reward
    verifiers = dict.fromkeys(reward_verifiers(reward), "verifier")
    return verifiers | {record.verifier_checkpoint: "verifier", record.generator_checkpoint: "generator"}


class LanguageModel:
    """A frozen language model that measures surprisal; equal responses to a prompt are scored once across records."""

    def __init__(self, scorer: "Verifier") -> None:
        self.scorer = scorer
        self._known: dict[tuple[str, str], float | None] = {}

    def measure(self, pairs: Sequence[Pair]) -> list[Pair]:
        """The pairs with the surprisal of both responses."""
        texts = {
            _key(pair, response): (pair.messages or pair.prompt, response.response)
            for pair in pairs
            for response in (pair.start, pair.policy)
        }
        new = {key: text for key, text in texts.items() if key not in self._known}
        scores = self.scorer.score(
            [p for p, _ in new.values()], [r for _, r in new.values()], [False] * len(new)
        )
        for key, score in zip(new, scores, strict=True):
            # five digits, because the sixth depends on the other responses of the batch
            self._known[key] = None if score.mean is None else round(-score.mean, 5)

        def measured(pair: Pair, response: Generation) -> Generation:
            return replace(response, surprisal=self._known[_key(pair, response)])

        return [replace(p, start=measured(p, p.start), policy=measured(p, p.policy)) for p in pairs]


def _key(pair: Pair, response: Generation) -> tuple[str, str]:
    """What a surprisal depends on, besides the model."""
    return json.dumps(pair.messages or pair.prompt), response.response


def load_model(name: str, template: tuple[tuple[str, Any], ...] = (), **limits: Any) -> LanguageModel:
    """Load a language model; `template` are the values for variables of its chat template, `limits` as in `Scoring`."""
    from experiments.run.evaluation import load_scorer  # imports torch

    return LanguageModel(load_scorer(name, Scoring(**limits), dict(template) or None))


def measure_surprisal(
    record: RunRecord, model: str | None = None, load: Callable[..., LanguageModel] = load_model
) -> RunRecord:
    """The record with the surprisal of every response, in nats per token; None for an empty response.

    `model` is by default the run's independent model, which `load` loads. The record itself is returned if there is no
    model, or if the model has already measured it. Limits and dtype are those of the run's `scoring`, or SCORING for
    imported responses.

    Raises:
        NotIndependent: The model took part in the run, by name or by weights, or its weights are not those that the run
            had under this name.
        Unavailable: The weights are not available.
    """
    name = model or independent_model(record)
    if name is None or name == record.language_model:
        return record
    weights = _check_independence(record, name)
    template = record.config.get("chat_template", {}).get("verifier", {})
    limits = record.config.get("scoring", SCORING)
    if limits.keys() != SCORING.keys():
        raise ValueError(
            f"{record.run_id} has the settings config.scoring {', '.join(limits) or 'none'}; it must have "
            f"{', '.join(SCORING)}"
        )
    return replace(
        record,
        pairs=load(name, tuple(sorted(template.items())), **limits).measure(record.pairs),
        language_model=name,
        environment=record.environment | {f"weights of {name}": weights},
    )


def _check_independence(record: RunRecord, name: str) -> str:
    """What identifies the weights of a model that took no part in a run. Raises as `measure_surprisal` does."""
    parts, run_id, recorded = participants(record), record.run_id, record.environment
    if name in parts:
        raise NotIndependent(
            f"language model {name} is the {parts[name]} of {run_id}; name one that took no part"
        )
    from cme.miniature.models import weights_identity  # imports torch

    weights = resolve_weights([name])[name]
    aliases = {weights}
    if Path(name).is_dir():  # a record can identify the checkpoint in it by the folder's name
        aliases.add(Path(name).name)
        if (Path(name) / "build.json").exists():
            aliases.add(weights_identity(Path(name)))
    for participant, role in parts.items():
        if recorded.get(f"weights of {participant}") in aliases:
            raise NotIndependent(
                f"language model {name} has the weights of {participant}, the {role} of {run_id}; name one that took "
                "no part"
            )
    if recorded.get(f"weights of {name}", weights) != weights:
        raise NotIndependent(
            f"{name} is {weights} here, but {run_id} had {recorded[f'weights of {name}']}: at another commit, or built "
            "under other versions of torch or transformers, it is another model; measure under that of the record"
        )
    return weights


def main(arguments: Sequence[str], prog: str) -> int:
    """The command `measure`: add the surprisal of recorded responses to their records; returns the exit code.

    Raises ValueError or Unavailable for a directory or record that cannot be read and for a model that cannot measure;
    earlier records are measured then.
    """
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("records", nargs="*", type=Path, metavar="RECORD_DIR", help=f"default: {RUNS}")
    parser.add_argument("--model", metavar="CHECKPOINT", help="default: each run's held-out verifier")
    options: Any = parser.parse_args(arguments)
    quiet_libraries()
    load = lru_cache(maxsize=1)(load_model)  # records come by family, so a model is seldom loaded twice
    counts = {"measured": 0, "measured before": 0, "without an independent model": 0}
    folders = options.records or [RUNS]
    paths = record_files(folders, "record.json")
    if not paths:
        raise ValueError(f"no file named record.json or *.record.json under {', '.join(map(str, folders))}")
    for path in paths:
        before = read_record(path)
        after = measure_surprisal(before, options.model, load)
        if after is not before:
            write_record(path, after)
            counts["measured"] += 1
            print(plain(f"{after.run_id}: measured under {after.language_model}"), file=sys.stderr)
        else:
            counts["measured before" if before.language_model else "without an independent model"] += 1
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    return 0
