"""Separation: which signal tells a generator's correct responses from its wrong ones? No training.

The published experiment (arXiv 2605.29009) uses 100 problems of MATH-500 and 8 samples of each. Here the data must have
gold answers or an oracle. The generator answers each prompt `trainer.num_generations` times at temperature 1, and each
response is scored under generator and verifier. A higher signal should mean a wrong response:

    cross_entropy        -1/T sum_t log q(y_t | x, y_<t)          nats per token; minus the reward `cme`
    predictive_entropy    1/T sum_t H(q(. | x, y_<t))             nats per token

over the whole `response`, with the end of turn of one that ended by itself, and over the tokens of its `answer` if the
answer is only a part of it. Each model reads the response's text in its own tokens and chat template.

Where responses have a final answer, a response is correct by the same comparison as in the reward `ground_truth`; one
without an answer that can be parsed is wrong. Elsewhere, a response is correct if the oracle grades it 1.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from cme.grading.answers import answer_span, has_final_answer
from cme.models.generation_log import GenerationLog
from cme.records import Generation, Prompt, SeparationRecord, read_record, write_record
from cme.rewards import GroundTruth
from cme.rewards.cross_model import pooling
from cme.scoring.verifier import Score
from experiments.config import identity
from experiments.config.runs import Run
from experiments.config.validation import BadConfig
from experiments.probes.records import print_record, record_fields
from experiments.run import evaluation, inputs
from experiments.run.cell import Job, quiet_libraries
from experiments.run.store import cached_generations

_TRAINING = (
    *("trainer", "guard", "judge", "selection", "capabilities", "reward", "monitor_every", "scale.heldout"),
    *("evaluation.both_orders", "data.oracle", "data.train_split", "data.train_prompts"),
)
"""Settings of a run's identity that a separation does not depend on; its verifier is `verifier.checkpoint`."""


def record_path(run: Run) -> Path:
    """Where the record lies: in a folder such as `separation-miniature-qwen-sft-gemma-s0-1a2b3c4d`."""
    counted = identity.identity_fields(run, without=_TRAINING)
    # a batch is sampled together, so another batch size gives other samples
    counted |= {"samples": run.trainer.num_generations, "evaluation.batch_size": run.evaluation.batch_size}
    parts = ("separation", run.scale.name, run.family.name, run.regime, run.verifier.name)
    return Path(run.results_dir) / identity.slug(run, *parts, values=counted) / "separation.json"


def _run(run: Run) -> Path:
    """Sample, score and record unless it was done before, and print the table; return the record's path."""
    from analysis.tables.separation import signal_tables

    path = record_path(run)
    if not path.exists():
        quiet_libraries()
        write_record(path, _measure(run, path.parent))
    [table] = signal_tables([read_record(path, SeparationRecord)])
    print_record(path, table)
    return path


run = Job(_run, record_path)


def _measure(run: Run, folder: Path) -> SeparationRecord:
    checkpoints = {"generator": run.generator, "verifier": run.verifier.checkpoint}
    fields = record_fields(run, checkpoints.values())
    every = inputs.evaluation_prompts(run)
    oracle = None if has_final_answer(run.data.answers) else run.load_oracle()
    prompts = every if oracle else [p for p in every if p.answer is not None]
    if not prompts:
        raise BadConfig(
            f"data={run.data.name}, data.eval_split={run.data.eval_split}: no prompt has an answer"
        )
    samples = int(run.trainer.num_generations)
    repeated = [p for p in prompts for _ in range(samples)]

    def sample(log: GenerationLog) -> list[Generation]:
        checkpoint = evaluation.load_generator(run)
        torch.manual_seed(run.seed)
        return evaluation.respond(run, checkpoint, repeated, progress="samples", temperature=1.0, log=log)

    weights = inputs.resolve_weights([run.generator])[run.generator]
    origin = [folder.name, weights, [asdict(p) for p in prompts]]
    responses, sample_seconds = cached_generations(folder / "samples.json", origin, sample)
    texts = [r.response for r in responses]
    correct: list[float | None]
    if oracle is not None:
        graded = zip(repeated, responses, strict=True)
        correct = [oracle(p.text, r.response, bool(r.finished)).quality for p, r in graded]
    else:
        correct = GroundTruth(None, run.data.answers)(
            [p.text for p in repeated], texts, [[]] * len(repeated), answer=[p.answer for p in repeated]
        )
    began = time.perf_counter()
    signals: dict[str, list[float | None]] = {}
    cut = {}
    for model, checkpoint in checkpoints.items():
        print(f"{folder.name}: scoring {len(texts)} responses under {checkpoint}", file=sys.stderr)
        scores = evaluation.load_scorer(checkpoint, run.scoring, run.chat_template.verifier).score(
            [p.conversation for p in repeated], texts, [bool(r.finished) for r in responses], entropy=True
        )
        signals |= response_signals(model, scores, texts, run.data.answers)
        cut[model] = sum(score.truncated for score in scores)
    return SeparationRecord(
        separation_id=folder.name,
        verifier=run.verifier.name,
        data=run.data.name,
        verifier_checkpoint=run.verifier.checkpoint,
        prompts=[Prompt(p.id, p.text, p.answer, p.reference) for p in prompts],
        left_out=len(every) - len(prompts),
        samples=samples,
        responses=responses,
        correct=[None if value is None else value == 1 for value in correct],
        answered=[answer_span(text, run.data.answers) is not None for text in texts],
        signals=signals,
        cut=cut,
        seconds={"sample": sample_seconds, "score": time.perf_counter() - began},
        **fields,
    )


def response_signals(
    model: str, scores: Sequence[Score], texts: Sequence[str], answers: Any
) -> dict[str, list[float | None]]:
    """A model's signals by name, in nats per token; None for a response, or an answer, without a scored token.

    If the answer is the whole response, there are no signals of the answer.
    """
    signals: dict[str, list[float | None]] = {}
    for span in ("response",) if answers == "whole" else ("response", "answer"):
        for measure in ("cross_entropy", "predictive_entropy"):
            column: list[float | None] = []
            for score, text in zip(scores, texts, strict=True):
                values = -score.log_likelihoods if measure == "cross_entropy" else score.entropies
                if span == "answer" and score.reason is None:
                    place = answer_span(text, answers)
                    values = values[pooling.span_mask(score, *place)] if place else values[:0]
                known = score.reason is None and len(values) > 0
                column.append(float(f"{float(values.double().mean()):.6g}") if known else None)
            signals[f"{measure} {model} {span}"] = column
    return signals
