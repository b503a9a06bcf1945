"""A judge's sanity: what it says of opponents that are not better than a model's own responses. No training.

Opponents of the untrained generator's greedy responses, in the place where a trained policy stands:

    null      one phrase, the same for every prompt
    longer    the response, then the response again
    shorter   the first half of the response's words, of responses that ended by themselves: cutting one
              that runs on can make it better
    copied    the prompt
    itself    the generator, sampled at temperature 1, against itself, sampled again
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cme.data.alpaca_format import write_outputs
from cme.evaluation.reward_probe import stock_phrases
from cme.judges.pairwise import VerdictLog
from cme.records import Generation, Pair, Prompt, SanityRecord, read_record, write_record
from experiments.config import identity
from experiments.config.runs import Run
from experiments.run import accuracy, inputs, judging
from experiments.run.stage import quiet_libraries, resolve_weights
from experiments.run.store import environment

OPPONENTS = ("null", "longer", "shorter", "copied", "itself")

# Of a run's identity, what a judge's sanity does not depend on.
_TRAINING = ("trainer", "guard", "reward", "verifier", "scoring", "monitor_every", "scale.heldout")


def record_path(config: Run) -> Path:
    """Where a cell's sanity record lies."""
    return Path(config.results_dir) / sanity_id(config) / "sanity.json"


def sanity_id(config: Run) -> str:
    """Slug and hash, such as `sanity-miniature-oracle-qwen-pretrained-s0-1a2b3c4d`."""
    counted = identity.identity_fields(config, without=_TRAINING)
    parts = ("sanity", config.scale.name, config.judge.name, config.family.name, config.regime)
    return f"{'-'.join(parts)}-s{config.seed}-{identity.digest(counted)}"


def run(config: Run) -> Path:
    """Judge the opponents, or those that no judge could score before, and print the table; return the record's path."""
    from analysis.tables.render import to_markdown
    from analysis.tables.sanity import sanity_table

    path = record_path(config)
    record = read_record(path, SanityRecord) if path.exists() else None
    if record is None or has_unscored(record):
        judging.probe([config])
        record = _measured(config)
        write_record(path, record)
        _write_outputs(path.parent, record)
    print(to_markdown(sanity_table([record])))
    for warning in record.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"record: {path}")
    return path


def _write_outputs(folder: Path, record: SanityRecord) -> None:
    """The opponents' responses, in AlpacaEval's format."""
    for name, pairs in record.pairs.items():
        said = [(p.prompt, p.policy.response) for p in pairs]
        generator, data = f"{record.generator_checkpoint} ({name})", record.config["data"]["name"]
        write_outputs(folder / f"{name}_outputs.json", said, generator, data)


def has_unscored(record: SanityRecord) -> bool:
    """Whether a verdict is unscored."""
    return any(v.outcome == "unscored" for verdicts in record.verdicts.values() for v in verdicts)


def _measured(config: Run) -> SanityRecord:
    quiet_libraries()
    began = time.perf_counter()
    weights = resolve_weights([config.generator])
    prompts = inputs.load_prompts(config.data, config.data.eval_split, config.data.eval_prompts)
    greedy, one, other = _responses(config, prompts)
    pairs = opponents(accuracy.judged_prompts(config, prompts), greedy, one, other)
    print(f"{sanity_id(config)}: {sum(map(len, pairs.values()))} pairs to judge", file=sys.stderr)
    with VerdictLog(record_path(config).with_name("verdicts.jsonl")) as log:
        orders = config.evaluation.both_orders
        verdicts = {
            name: judging.collect_verdicts(config.judge, own, orders, log) for name, own in pairs.items()
        }
    return SanityRecord(
        sanity_id=sanity_id(config),
        scale=config.scale.name,
        family=config.family.name,
        regime=config.regime,
        judge=config.judge.name,
        seed=config.seed,
        generator_checkpoint=config.generator,
        config=config.settings,
        neutral=identity.neutral_fields(config),
        environment=environment() | {f"weights of {name}": folder for name, folder in weights.items()},
        pairs=pairs,
        verdicts=verdicts,
        seconds=time.perf_counter() - began,
        warnings=[
            f"opponent {name}: {line}"
            for name, own in pairs.items()
            for line in judging.truncation_warnings(config, own)
        ],
    )


def _responses(config: Run, prompts: Sequence[Prompt]) -> list[list[Generation]]:
    """The generator's responses, greedy and sampled twice."""
    import torch

    from cme.checkpoints import load
    from experiments.run.responses import respond

    checkpoint = load(config.generator)
    torch.manual_seed(config.seed)
    return [respond(config, checkpoint, prompts, progress="answers", temperature=t) for t in (0.0, 1.0, 1.0)]


def opponents(
    prompts: Sequence[Prompt],
    greedy: Sequence[Generation],
    one: Sequence[Generation],
    other: Sequence[Generation],
) -> dict[str, list[Pair]]:
    """Pairs by opponent: the model's own response as the start's, the opponent's as the policy's.

    An opponent that has no pair is left out.
    """

    def pair(prompt: Prompt, start: Generation, text: str, finished: bool | None = True) -> Pair:
        opponent = Generation(text, finished, tokens=None)  # no model wrote it
        return Pair(prompt.id, prompt.text, prompt.reference, start, opponent, prompt.answer)

    own = list(zip(prompts, greedy, strict=True))
    found = (
        [pair(p, g, stock_phrases(p).boilerplate) for p, g in own],
        [pair(p, g, f"{g.response} {g.response}", g.finished) for p, g in own],
        [pair(p, g, _half(g.response)) for p, g in own if g.finished],
        [pair(p, g, p.text) for p, g in own],
        [
            Pair(p.id, p.text, p.reference, a, b, p.answer)
            for p, a, b in zip(prompts, one, other, strict=True)
        ],
    )
    return {name: pairs for name, pairs in zip(OPPONENTS, found, strict=True) if pairs}


def _half(text: str) -> str:
    words = text.split()
    return " ".join(words[: len(words) // 2])
