"""Sanity check of a judge: its verdicts on opponents that are no better than a model's own responses. No training.

The opponents of the untrained generator's greedy responses, in the place of a trained policy:

    null      one phrase, the same for every prompt
    longer    the response, then the response again
    shorter   the first half of the response's words; only for responses that ended by themselves, because cutting one
              that does not end can make it better
    copied    the prompt
    cut start the response's first sentence, where that is not all of it; it may be better, so no judge fails against it
    itself    the generator, sampled at temperature 1, against itself, sampled again
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from cme.data.alpaca_format import write_outputs
from cme.evaluation.cut_start import cut_at_sentence_end
from cme.evaluation.reward_probe import stock_phrases
from cme.judges.pairwise import VerdictLog
from cme.records import CUT_START, Generation, Pair, Prompt, SanityRecord, read_record, write_record
from experiments.config import identity
from experiments.config.runs import Run
from experiments.probes.records import print_record, record_fields
from experiments.run import evaluation, inputs, judging
from experiments.run.cell import Job, finished_state, quiet_libraries

_TRAINING = ("trainer", "guard", "reward", "verifier", "scoring", "monitor_every", "scale.heldout")
"""Settings of a run's identity that a judge's sanity check does not depend on."""


def record_path(run: Run) -> Path:
    """Where the record lies: in a folder such as `sanity-miniature-oracle-qwen-pretrained-s0-1a2b3c4d`."""
    counted = identity.identity_fields(run, without=_TRAINING)
    parts = ("sanity", run.scale.name, run.judge.name, run.family.name, run.regime)
    return Path(run.results_dir) / identity.slug(run, *parts, values=counted) / "sanity.json"


def _run(run: Run) -> Path:
    """Judge the opponents, or only the unscored verdicts, and print the table; return the record's path."""
    from analysis.tables.judging.judges import sanity_table

    path = record_path(run)
    if not path.exists() or finished_state(path, attempts=0).unscored:
        record = _measure(run, path)
        write_record(path, record)
        for name, pairs in record.pairs.items():
            rows = [(p.prompt, p.policy.response) for p in pairs]
            outputs = path.with_name(f"{name}_outputs.json")
            write_outputs(outputs, rows, f"{run.generator} ({name})", run.data.name)
    record = read_record(path, SanityRecord)
    print_record(path, sanity_table([record]), record.warnings)
    return path


run = Job(_run, record_path, lambda run: [run.generator])


def _measure(run: Run, path: Path) -> SanityRecord:
    quiet_libraries()
    began = time.perf_counter()
    fields = record_fields(run, [run.generator])
    prompts = inputs.evaluation_prompts(run)
    checkpoint = evaluation.load_generator(run)
    torch.manual_seed(run.seed)
    greedy, one, other = (
        evaluation.respond(run, checkpoint, prompts, progress="answers", temperature=t)
        for t in (0.0, 1.0, 1.0)
    )
    pairs = opponents(evaluation.judged_prompts(run, prompts), greedy, one, other)
    print(f"{path.parent.name}: {sum(map(len, pairs.values()))} pairs to judge", file=sys.stderr)
    with VerdictLog(path.with_name("verdicts.jsonl")) as log:
        orders = run.evaluation.both_orders
        verdicts = {
            name: judging.collect_verdicts(run.judge, own, orders, log) for name, own in pairs.items()
        }
    return SanityRecord(
        sanity_id=path.parent.name,
        judge=run.judge.name,
        neutral=identity.neutral_fields(run),
        pairs=pairs,
        verdicts=verdicts,
        seconds=time.perf_counter() - began,
        warnings=[
            f"opponent {name}: {line}"
            for name, own in pairs.items()
            for line in judging.truncation_warnings(run, own)
        ],
        **fields,
    )


def opponents(
    prompts: Sequence[Prompt],
    greedy: Sequence[Generation],
    one: Sequence[Generation],
    other: Sequence[Generation],
) -> dict[str, list[Pair]]:
    """Pairs by opponent, whose responses stand for the policy's; the model's own stand for the start's.

    An opponent without any pair is left out.
    """

    def pair(prompt: Prompt, start: Generation, opponent: Generation) -> Pair:
        return Pair(prompt.id, prompt.text, prompt.reference, start, opponent, prompt.answer)

    def compare_text(prompt: Prompt, start: Generation, text: str, finished: bool | None = True) -> Pair:
        return pair(prompt, start, Generation(text, finished, tokens=None))  # no model wrote it

    own = list(zip(prompts, greedy, strict=True))
    halves = [(p, g, g.response.split()) for p, g in own if g.finished]
    cut = [(p, g, cut_at_sentence_end(g)) for p, g in own]
    pairs = {
        "null": [compare_text(p, g, stock_phrases(p).boilerplate) for p, g in own],
        "longer": [compare_text(p, g, f"{g.response} {g.response}", g.finished) for p, g in own],
        "shorter": [compare_text(p, g, " ".join(words[: len(words) // 2])) for p, g, words in halves],
        "copied": [compare_text(p, g, p.text) for p, g in own],
        CUT_START: [pair(p, g, opponent) for p, g, opponent in cut if opponent != g],
        "itself": [pair(*each) for each in zip(prompts, one, other, strict=True)],
    }
    return {name: found for name, found in pairs.items() if found}
