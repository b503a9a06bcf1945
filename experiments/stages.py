"""One run, stage by stage: train, generate, judge, record. A stage made from the same inputs is not run again."""

import logging
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from filelock import FileLock
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from cme.checkpoints import Checkpoint, ensure, load
from cme.generation import generate
from cme.judges import judge_pairs
from cme.monitors import Monitors
from cme.records import (
    Generation,
    Pair,
    Prompt,
    RunRecord,
    read_json,
    verdict_from,
    write_json,
    write_record,
)
from cme.scorer import Scorer
from cme.token_scorer import TokenScorer
from cme.training import Guard, train
from experiments import identity
from experiments.grid import checkpoints
from experiments.measure import measured
from experiments.store import Store, environment
from experiments.validate import validate


def run(config: DictConfig) -> Path:
    """Run whatever stages of a cell are not done yet; return the path of its record."""
    store = Store.of(config)
    if store.record.exists():
        _say(config, "done before, skipped")
        return store.record
    _quiet_libraries()
    store.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(store.folder / ".lock"):
        weights = {name: Path(place).name for name, place in ensure(checkpoints([config])).items()}
        trained = _once(store.training, weights, lambda: _train(config, store))
        pairs, generate_seconds = _pairs(config, store, weights, trained["value"])
        judged = _once(store.verdicts, [asdict(p) for p in pairs], lambda: _judge(config, pairs))
        record = RunRecord(
            run_id=store.folder.name,
            scale=config.scale.name,
            family=config.family.name,
            regime=config.regime.name,
            reward=config.reward.name,
            verifier=config.verifier.name,
            judge=config.judge.name,
            seed=config.seed,
            experiment=config.experiment.name,
            generator_checkpoint=config.generator,
            verifier_checkpoint=config.verifier.checkpoint,
            heldout_checkpoint=identity.heldout(config),
            config=cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True)),
            environment=environment() | {f"weights of {name}": folder for name, folder in weights.items()},
            warnings=validate(config),
            stopped=trained["value"]["stopped"],
            history=trained["value"]["history"],
            pairs=pairs,
            verdicts=[verdict_from(v) for v in judged["value"]],
            seconds={"train": trained["seconds"], "generate": generate_seconds, "judge": judged["seconds"]},
        )
        write_record(store.record, measured(record))
    return store.record


def _train(config: DictConfig, store: Store) -> dict[str, Any]:
    _say(config, f"training {config.generator} with reward {config.reward.name}")
    start = load(config.generator)
    monitors = Monitors(
        load(config.generator), _heldout(config), _made(config.data.oracle), config.monitor_every
    )
    unfinished = store.folder / "checkpoint.partial"
    shutil.rmtree(unfinished, ignore_errors=True)
    result = train(
        start,
        _prompts(config, config.data.train_split, config.data.train_prompts),
        _made(config.reward),
        monitors,
        cast("dict[str, Any]", OmegaConf.to_container(config.trainer)),
        Guard(config.guard.patience, config.guard.max_unscored),
        seed=config.seed,
        folder=unfinished,
    )
    shutil.rmtree(store.checkpoint, ignore_errors=True)
    os.replace(unfinished, store.checkpoint)
    if result.stopped:
        _say(config, f"training stopped {result.stopped}")
    return asdict(result)


def _heldout(config: DictConfig) -> Scorer | None:
    name = identity.heldout(config)
    if name is None:
        return None
    verifier = load(name, dtype=config.scoring.dtype)
    return Scorer(
        verifier.tokenizer,
        TokenScorer(verifier.model, batch_tokens=config.scoring.batch_tokens),
        score_end_of_turn=True,
        max_prompt_tokens=config.scoring.max_prompt_tokens,
        max_response_tokens=config.scoring.max_response_tokens,
    )


def _prompts(config: DictConfig, split: str, count: int) -> list[Prompt]:
    return cast(
        "list[Prompt]", instantiate(config.data.source, split=split, count=count, seed=config.data.seed)
    )


def _made(node: DictConfig | None) -> Any:
    """What a `_target_` node makes; the node's `name` is not an argument."""
    if node is None:
        return None
    values = cast("dict[str, Any]", OmegaConf.to_container(node, resolve=True))
    return instantiate({key: value for key, value in values.items() if key != "name"})


def _pairs(
    config: DictConfig, store: Store, weights: dict[str, str], trained: dict[str, Any]
) -> tuple[list[Pair], float]:
    """Start's and policy's responses to the evaluation prompts, side by side, and the seconds they took."""
    prompts = _prompts(config, config.data.eval_split, config.data.eval_prompts)
    asked = [asdict(p) for p in prompts]

    def respond(checkpoint: Checkpoint, who: str) -> list[dict[str, Any]]:
        responses = generate(
            checkpoint.model,
            checkpoint.tokenizer,
            [p.text for p in prompts],
            max_new_tokens=config.evaluation.max_new_tokens,
            batch_size=config.evaluation.batch_size,
            progress=f"{who} answers",
        )
        return [asdict(r) for r in responses]

    store.start.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{store.start}.lock"):
        origin = [weights[config.generator], asked]
        before = _once(store.start, origin, lambda: respond(load(config.generator), "start"))
    after = _once(store.generations, [trained, asked], lambda: respond(load(str(store.checkpoint)), "policy"))
    pairs = [
        Pair(p.id, p.text, p.reference, Generation(**b), Generation(**a))
        for p, b, a in zip(prompts, before["value"], after["value"], strict=True)
    ]
    return pairs, before["seconds"] + after["seconds"]


def _judge(config: DictConfig, pairs: list[Pair]) -> list[dict[str, Any]]:
    verdicts = judge_pairs(_made(config.judge), pairs, config.evaluation.both_orders)
    return [asdict(v) for v in verdicts]


def _once(path: Path, inputs: Any, make: Callable[[], Any]) -> dict[str, Any]:
    """A stage's file: its `value`, the `seconds` it took, and a digest of the `inputs` it was made from.

    It is made, and written whole, where there is none or where it was made from something else.
    """
    made_from = identity.digest(inputs)
    if path.exists():
        found = cast("dict[str, Any]", read_json(path))
        if found["made_from"] == made_from:
            return found
    began = time.perf_counter()
    value = make()
    write_json(path, {"made_from": made_from, "seconds": time.perf_counter() - began, "value": value})
    return cast("dict[str, Any]", read_json(path))


def _say(config: DictConfig, what: str) -> None:
    print(f"{identity.run_id(config)}: {what}", file=sys.stderr)


def _quiet_libraries() -> None:
    """Keep libraries' advice out of the output; errors still show."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("trl").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(torch|transformers|trl|accelerate)\.")
