"""Separation: which signal tells a generator's right responses from its wrong ones? No training.

The published experiment (arXiv 2605.29009) on 100 problems of MATH-500 and 8 samples of each, with data that have
right answers. The generator answers each prompt as often as a GRPO group has members (`trainer.num_generations`), at
temperature 1; each response is scored under generator and verifier. Higher should mean wrong:

    cross_entropy        -1/T sum_t log q(y_t | x, y_<t)          nats a token; minus the reward `cme`
    predictive_entropy    1/T sum_t H(q(. | x, y_<t))             nats a token

over the whole `response`, the end of turn of one that ended by itself included, and over the tokens of its `answer`
where data's answer is only a part of it. Either model reads the response's text in its own tokens and template.

Right is what the reward `ground_truth` takes for right where it compares answers. A response without an answer
that parses is wrong.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cme.grading.answers import answer_span
from cme.records import Generation, Prompt, SeparationRecord, read_record, write_record
from experiments.config import identity
from experiments.config.runs import Run
from experiments.config.validation import BadConfig
from experiments.run import inputs, state
from experiments.run.stage import cached_stage, quiet_libraries, resolve_weights
from experiments.run.store import environment
from experiments.run.training import load_scorer

if TYPE_CHECKING:
    from cme.models.generation_log import GenerationLog
    from cme.scoring.verifier import Score

TEMPERATURE = 1.0

# Of a run's identity, what a separation does not depend on. `reward` among it: the verifier is `verifier.checkpoint`.
_TRAINING = (
    *("trainer", "guard", "judge", "selection", "capabilities", "reward", "monitor_every", "scale.heldout"),
    *("evaluation.both_orders", "data.oracle", "data.train_split", "data.train_prompts"),
)


def record_path(config: Run) -> Path:
    """Where a cell's separation record lies."""
    return Path(config.results_dir) / separation_id(config) / "separation.json"


def separation_id(config: Run) -> str:
    """Slug and hash, such as `separation-miniature-qwen-sft-gemma-s0-1a2b3c4d`."""
    counted = identity.identity_fields(config, without=_TRAINING)
    # a sampled batch draws its tokens together: batches of another size draw others
    counted |= {
        "samples": config.trainer.num_generations,
        "evaluation.batch_size": config.evaluation.batch_size,
    }
    parts = ("separation", config.scale.name, config.family.name, config.regime, config.verifier.name)
    return f"{'-'.join(parts)}-s{config.seed}-{identity.digest(counted)}"


def run(config: Run) -> Path:
    """Sample, score and record, unless it was done before, and print the table; return the record's path."""
    from analysis.tables.render import to_markdown
    from analysis.tables.separation_tables import signal_tables

    path = record_path(config)
    with state.run_lock(path.parent):
        if not path.exists():
            quiet_libraries()
            write_record(path, _measured(config, path.parent))
    [table] = signal_tables([read_record(path, SeparationRecord)])
    print(to_markdown(table))
    print(f"record: {path}")
    return path


def _measured(config: Run, folder: Path) -> SeparationRecord:
    from cme.rewards import GroundTruth

    checkpoints = {"generator": config.generator, "verifier": config.verifier.checkpoint}
    weights = resolve_weights(checkpoints.values())
    every = inputs.load_prompts(config.data, config.data.eval_split, config.data.eval_prompts)
    prompts = [p for p in every if p.answer is not None]
    if not prompts:
        raise BadConfig(
            f"data={config.data.name}, data.eval_split={config.data.eval_split}: no prompt has an answer"
        )
    samples = int(config.trainer.num_generations)
    asked = [p for p in prompts for _ in range(samples)]
    made_from = [separation_id(config), weights[config.generator], [asdict(p) for p in prompts]]
    sampled = cached_stage(folder / "samples.json", made_from, partial(_sampled, config, asked))
    responses = [Generation(**r) for r in sampled["value"]]
    texts = [r.response for r in responses]
    right = GroundTruth(None, config.data.answers)(
        [p.text for p in asked], texts, [[]] * len(asked), answer=[p.answer for p in asked]
    )
    began = time.perf_counter()
    signals: dict[str, list[float | None]] = {}
    cut = {}
    for model, checkpoint in checkpoints.items():
        print(f"{separation_id(config)}: scoring {len(texts)} responses under {checkpoint}", file=sys.stderr)
        scores = _scores(config, checkpoint, asked, responses)
        signals |= response_signals(model, scores, texts, config.data.answers)
        cut[model] = sum(score.truncated for score in scores)
    return SeparationRecord(
        separation_id=separation_id(config),
        scale=config.scale.name,
        family=config.family.name,
        regime=config.regime,
        verifier=config.verifier.name,
        data=config.data.name,
        seed=config.seed,
        generator_checkpoint=config.generator,
        verifier_checkpoint=config.verifier.checkpoint,
        config=config.settings,
        environment=environment() | {f"weights of {name}": place for name, place in weights.items()},
        prompts=prompts,
        left_out=len(every) - len(prompts),
        samples=samples,
        responses=responses,
        correct=[None if value is None else value == 1 for value in right],
        answered=[answer_span(text, config.data.answers) is not None for text in texts],
        signals=signals,
        cut=cut,
        seconds={"sample": sampled["seconds"], "score": time.perf_counter() - began},
    )


def _sampled(config: Run, asked: Sequence[Prompt], log: "GenerationLog") -> list[dict[str, Any]]:
    """The generator's samples, drawn from torch's global generator, which the seed sets."""
    import torch

    from cme.checkpoints import load
    from experiments.run.responses import respond

    checkpoint = load(config.generator)
    torch.manual_seed(config.seed)
    said = respond(config, checkpoint, asked, progress="samples", temperature=TEMPERATURE, log=log)
    return [asdict(r) for r in said]


def _scores(
    config: Run, name: str, asked: Sequence[Prompt], responses: Sequence[Generation]
) -> "list[Score]":
    """The responses' scores under a checkpoint, within the limits of scoring."""
    return load_scorer(config, name).score(
        [p.text for p in asked],
        [r.response for r in responses],
        [bool(r.finished) for r in responses],
        entropy=True,
    )


def response_signals(
    model: str, scores: "Sequence[Score]", texts: Sequence[str], answers: Any
) -> dict[str, list[float | None]]:
    """A model's signals by name, nats a token; None for a response, or an answer, without a scored token.

    Where the answer is the whole response there is no span of its own.
    """
    from cme.rewards import pooling

    found: dict[str, list[float | None]] = {}
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
            found[f"{measure} {model} {span}"] = column
    return found
