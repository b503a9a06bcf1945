"""Surprisal of the evaluated responses under a language model that neither trained nor rewarded them.

A judge may like what a language model finds likely (Wataoka et al., arXiv 2410.21819), and Cross-Model Entropy makes
responses likely; `analysis.tables.confounds` tells the two apart by what is measured here. The independent model of a
run is its held-out verifier, a third family; `--model` names another. Only the text is scored, without an end of turn.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from cme import Unavailable
from cme.checkpoints import load
from cme.records import Generation, Pair, RunRecord, read_record, write_record
from cme.scoring.token_scorer import TokenScorer
from cme.scoring.verifier import Verifier
from experiments.config import identity
from experiments.run.stage import resolve_weights

RUNS = Path("results/runs")
SCORING = {"max_prompt_tokens": 2048, "max_response_tokens": 2048, "dtype": "float32", "batch_tokens": 4096}


class NotIndependent(ValueError):
    """The language model took part in the run whose responses it should measure."""


def independent_model(record: RunRecord) -> str | None:
    """The configured independent model of a run: its held-out verifier, None without one or where it gave reward."""
    return None if record.heldout_checkpoint in participants(record) else record.heldout_checkpoint


def participants(record: RunRecord) -> dict[str, str]:
    """The models of a run that can't measure it, each with its part."""
    reward = record.config.get("reward", {})  # what was made elsewhere has none
    rewarding = dict.fromkeys(identity.reward_verifiers(reward), "verifier")
    return rewarding | {record.verifier_checkpoint: "verifier", record.generator_checkpoint: "generator"}


def measure_surprisal(record: RunRecord, model: str | None = None) -> RunRecord:
    """The record with the surprisal of every response under `model`, by default the run's independent model.

    It is the record itself where there is no such model or where this one has measured it already. An empty
    response has no tokens and keeps None. Limits, dtype and batches are those of the run's `scoring`, or `SCORING`
    for what was made elsewhere. Raises
    NotIndependent for a model of the run itself, by name or by weights, and for weights other than those that the
    run had under this name; Unavailable for weights that cannot be had.
    """
    name = model or independent_model(record)
    if name is None or name == record.language_model:
        return record
    parts, run = participants(record), record.run_id
    if name in parts:
        raise NotIndependent(
            f"language model {name} is the {parts[name]} of {run}; name one that took no part"
        )
    weights, recorded = resolve_weights([name])[name], record.environment
    known_as = (
        {weights, Path(name).name} if Path(name).is_dir() else {weights}
    )  # a built one's folder by its path
    for used, part in parts.items():
        if recorded.get(f"weights of {used}") in known_as:
            raise NotIndependent(
                f"language model {name} has the weights of {used}, the {part} of {run}; name one that took no part"
            )
    if recorded.get(f"weights of {name}", weights) != weights:
        raise NotIndependent(
            f"{name} is {weights} here, but {run} had {recorded[f'weights of {name}']}: under other versions of "
            "torch or transformers it is another model; measure under those of the record"
        )
    scorer = cached_scorer(name, **record.config.get("scoring", SCORING))
    return replace(
        record,
        pairs=scorer.measure(record.pairs),
        language_model=name,
        environment=recorded | {f"weights of {name}": weights},
    )


class CachedScorer:
    """Surprisal of responses under one frozen model. What was asked before, as every start is, is not asked again."""

    def __init__(self, scorer: Verifier) -> None:
        self.scorer = scorer
        self._known: dict[tuple[str, str], float | None] = {}

    def measure(self, pairs: Sequence[Pair]) -> list[Pair]:
        """The pairs with both responses' surprisal, nats a token; None for an empty one."""
        asked = dict.fromkeys((p.prompt, g.response) for p in pairs for g in (p.start, p.policy))
        new = [both for both in asked if both not in self._known]
        scores = self.scorer.score([p for p, _ in new], [r for _, r in new], [False] * len(new))
        for both, score in zip(new, scores, strict=True):
            # five digits, because the sixth changes with what shares a batch
            self._known[both] = None if score.mean is None else round(-score.mean, 5)

        def told(prompt: str, generation: Generation) -> Generation:
            return replace(generation, surprisal=self._known[prompt, generation.response])

        return [replace(p, start=told(p.prompt, p.start), policy=told(p.prompt, p.policy)) for p in pairs]


@lru_cache(maxsize=1)  # records come by family, so a model is seldom loaded twice
def cached_scorer(
    name: str, max_prompt_tokens: int, max_response_tokens: int, dtype: str, batch_tokens: int
) -> CachedScorer:
    """The scorer of a language model, loaded."""
    model = load(name, dtype=dtype)
    return CachedScorer(
        Verifier(
            model.tokenizer,
            TokenScorer(model.model, batch_tokens=batch_tokens),
            max_prompt_tokens=max_prompt_tokens,
            max_response_tokens=max_response_tokens,
        )
    )


def main(arguments: Sequence[str], prog: str) -> int:
    """`python -m experiments measure`: fill in the surprisal of recorded responses; returns the exit code.

    2 where a directory or record can't be read, or a model can't measure; records before it are measured then.
    """
    import transformers

    from cme.records import record_files

    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("records", nargs="*", type=Path, metavar="RECORD_DIR", help=f"default: {RUNS}")
    parser.add_argument("--model", metavar="CHECKPOINT", help="default: each run's held-out verifier")
    options: Any = parser.parse_args(arguments)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    counts = {"measured": 0, "measured before": 0, "without an independent model": 0}
    try:
        for path in record_files(options.records or [RUNS], "record.json"):
            before = read_record(path)
            after = measure_surprisal(before, options.model)
            if after is not before:
                write_record(path, after)
                counts["measured"] += 1
                print(f"{after.run_id}: measured under {after.language_model}", file=sys.stderr)
            else:
                counts["measured before" if before.language_model else "without an independent model"] += 1
    except (FileNotFoundError, ValueError, Unavailable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    return 0
