"""A small run on random-weight models: what its record has, run again, and every reward."""

import hashlib
import json
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import Cell, composed, count_generations, greedy, never

from cme.checkpoints import load
from cme.data.alpaca_format import read_outputs
from cme.miniature import world
from cme.models.generation import generate
from cme.records import ExperimentRecord, Generation, RunRecord, read_json, read_record
from experiments.config import composition
from experiments.run import evaluation, judging, pipeline, training
from experiments.run.provenance import environment
from experiments.run.store import Store, add_to_experiments


def responses(record: RunRecord, who: str) -> list[Generation]:
    """The recorded responses of `start` or `policy` as they were generated, without what was measured later."""
    return [replace(getattr(pair, who), surprisal=None) for pair in record.pairs]


def test_a_cell_leaves_a_whole_record(finished: Cell) -> None:
    config = composed(finished())
    store = Store(config)
    path = store.record
    record = read_record(path)
    assert record.run_id == config.run_id == path.parent.name
    assert (record.scale, record.family, record.regime) == ("miniature", "qwen", "pretrained")
    assert (record.reward, record.verifier, record.judge, record.seed) == ("cme", "gemma", "oracle", 0)
    assert record.generator_checkpoint == "miniature:qwen-1/pretrained"
    assert record.verifier_checkpoint == "miniature:gemma-1/verifier"
    assert record.heldout_checkpoint == "miniature:olmo-1/verifier"
    assert record.stopped is record.untrained is record.accuracy is record.capabilities is None
    assert record.warnings == []
    parts = {f"train: {part}" for part in ("sampling", "scoring", "monitoring", "update")}
    assert set(record.seconds) == {"train", "generate", "judge", "compare"} | parts
    # equal responses are not compared
    assert all(seconds > 0 for stage, seconds in record.seconds.items() if stage != "compare")
    assert sum(record.seconds[part] for part in parts) < record.seconds["train"]

    assert {len(column) for column in record.history.values()} == {2}
    assert {"reward", "quality", "heldout", "kl", "unscored"} <= set(record.history)
    assert "accuracy" not in record.history
    assert record.history["kl"][0] == pytest.approx(0, abs=1e-4)
    assert record.config["data"]["eval_prompts"] == 12
    assert "${" not in str(record.config)
    assert record.decoding == {
        **{"do_sample": False, "num_beams": 1, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0},
        **{"min_length": 0, "max_new_tokens": 6, "eos_token_id": [1], "end_tokens": ["<|endoftext|>"]},
    }

    assert [p.prompt for p in record.pairs] == [p.text for p in world.load_prompts("eval", 12, 0)]
    assert responses(record, "start") == greedy(
        "miniature:qwen-1/pretrained", [p.prompt for p in record.pairs]
    )
    assert responses(record, "policy") == greedy(str(store.checkpoint), [p.prompt for p in record.pairs])
    outputs = {who: read_outputs(path.with_name(f"{who}_outputs.json")) for who in ("start", "policy")}
    assert [row["output"] for row in outputs["policy"]] == [p.policy.response for p in record.pairs]
    assert [row["output"] for row in outputs["start"]] == [p.start.response for p in record.pairs]
    assert {who: {row["generator"] for row in rows} for who, rows in outputs.items()} == {
        "start": {"miniature:qwen-1/pretrained"},
        "policy": {record.run_id},
    }

    for use, prompts in (
        ("evaluation", world.load_prompts("eval", 12, 0)),
        ("training", world.load_prompts("train", 24, 0)),
    ):
        digest = hashlib.sha256(json.dumps([asdict(p) for p in prompts]).encode()).hexdigest()
        assert record.environment[f"sha256 of {use} prompts"] == digest
    assert record.verifier_responses is not None
    asked = zip(record.pairs, record.verifier_responses, strict=True)
    graded = [world.grade(pair.prompt, said.response, bool(said.finished)).quality for pair, said in asked]
    assert record.verifier_quality == pytest.approx(graded, abs=1e-6)


def test_verdicts_follow_the_oracle_in_both_orders(recorded: Callable[..., Path]) -> None:
    [path] = recorded().glob("*/record.json")
    record = read_record(path)
    assert len(record.verdicts) == 24
    for pair, *verdicts in zip(record.pairs, record.verdicts[::2], record.verdicts[1::2], strict=True):
        grades = {
            who: world.grade(pair.prompt, g.response, g.finished).quality
            for who, g in (("policy", pair.policy), ("start", pair.start))
        }
        assert [v.policy_first for v in verdicts] == [True, False]
        assert {v.prompt_id for v in verdicts} == {pair.prompt_id}
        assert verdicts[0].scores == (grades["policy"], grades["start"])
        assert verdicts[1].scores == (grades["start"], grades["policy"])


def test_every_evaluated_response_ends_by_the_configured_rule(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The saved policy ends at both end tokens; its evaluation follows the rule of its untrained checkpoint."""
    ends: dict[str, list[int]] = {}

    def noted(*arguments: Any, **settings: Any) -> list[Generation]:
        ends[settings["progress"]] = list(settings["end_ids"])
        return generate(*arguments, **settings)

    monkeypatch.setattr(evaluation, "generate", noted)
    run = composed(cell("regime=instruct", "evaluation.stop=checkpoint", "selection.every=1"))
    record = read_record(pipeline.run(run))
    assert {
        "untrained model's responses",
        "policy answers",
        "verifier responses",
        "answers of step-1",
    } <= ends.keys()
    assert set(map(tuple, ends.values())) == {(1,)}
    assert load(str(Store(run).checkpoint)).end_ids == (1, 2)
    assert record.config["evaluation"]["stop"] == "checkpoint"
    assert record.decoding is not None and record.decoding["end_tokens"] == ["<|endoftext|>"]


def test_a_finished_cell_is_skipped(
    finished: Cell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = composed(finished("reward=random"))
    path = Store(config).record
    before = path.stat().st_mtime_ns, path.read_bytes()
    for module, name in ((evaluation, "load"), (training, "train_policy"), (pipeline, "_judge")):
        monkeypatch.setattr(module, name, never)
    capsys.readouterr()
    assert pipeline.run(config) == path
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before
    assert capsys.readouterr().err == f"{config.run_id}: done before, skipped\n"


REWARDS = sorted(p.stem for p in (composition.CONF / "reward").glob("*.yaml"))
TRAINED = ("ground_truth_answer", "majority_vote", "reverse_kl", "semantic_entropy", "token_entropy")
"""Rewards that need gold answers, votes, verifier and policy, a group's texts, and the policy alone."""


@pytest.mark.parametrize(
    "reward", [pytest.param(r, marks=() if r in TRAINED else pytest.mark.slow) for r in REWARDS if r != "cme"]
)
def test_every_reward_trains(cell: Cell, reward: str) -> None:
    # only the calculations of the world have gold answers
    data = "arithmetic" if reward == "ground_truth_answer" or reward.startswith("reference_") else "world"
    run = composed(cell(f"reward={reward}", f"data={data}", "family=olmo", "regime=sft"))
    record = read_record(pipeline.run(run))
    assert record.reward == reward
    assert all(r is not None for r in record.history["reward"])


def test_a_training_that_changes_no_weight_is_in_the_record(cell: Cell) -> None:
    record = read_record(pipeline.run(composed(cell("trainer.learning_rate=1e-60"))))
    assert record.untrained == "the training changed no weight"
    assert [p.policy.response for p in record.pairs] == [p.start.response for p in record.pairs]


def test_environment_names_versions_and_no_host() -> None:
    found = environment()
    assert found["python"] == platform.python_version()
    assert {"torch", "transformers", "trl", "device"} <= set(found)
    assert torch.cuda.is_available() or torch.backends.cpu.get_cpu_capability() in found["device"]
    said = " ".join(found.values())
    assert platform.node() not in said
    assert os.path.expanduser("~") not in said  # noqa: PTH111


def test_runs_of_an_experiment_are_written_once(tmp_path: Path) -> None:
    words = ["-m", f"results_dir={tmp_path}", "+experiment.name=mine"]
    add_to_experiments(composition.compose_cells([*words, "seed=0"]))
    [path] = tmp_path.glob("experiments/*.json")
    written = path.stat().st_ino
    add_to_experiments(composition.compose_cells([*words, "seed=0"]))
    assert path.stat().st_ino == written
    add_to_experiments(composition.compose_cells([*words, "seed=1"]))
    assert len(read_record(path, ExperimentRecord).runs) == 2 and path.stat().st_ino != written


def only_record(folder: Path) -> RunRecord:
    """The record of the one run in a results directory."""
    [path] = folder.glob("*/record.json")
    return read_record(path)


def test_a_run_without_a_verifier_has_no_quality_of_it(recorded: Callable[..., Path]) -> None:
    assert only_record(recorded("reward=random")).verifier_quality is None


def test_a_crash_after_training_resumes_without_training_again(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = composed(cell("reward=random"))
    store = Store(config)

    def crash(*_: object) -> Any:
        raise RuntimeError("the judge is down")

    with monkeypatch.context() as broken:
        broken.setattr(judging, "collect_verdicts", crash)
        with pytest.raises(RuntimeError, match="the judge is down"):
            pipeline.run(config)
    assert store.training.exists() and store.generations.exists() and store.start.exists()
    assert store.verdicts.read_bytes() == b"" and not store.record.exists()

    trained, generated = read_json(store.training), store.generations.read_bytes()
    monkeypatch.setattr(training, "train_grpo", never)
    monkeypatch.setattr("experiments.run.evaluation.generate", never)
    record = read_record(pipeline.run(config))
    assert record.history == trained["value"]["history"]
    assert record.seconds["train"] == trained["seconds"]
    assert store.generations.read_bytes() == generated
    assert len(record.verdicts) == 24


def test_the_starts_responses_are_made_once_for_two_rewards(
    cell: Cell, finished: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read_record(Store(composed(finished("reward=random"))).record)
    titles = count_generations(monkeypatch)
    second = read_record(pipeline.run(composed(cell("reward=ground_truth", "seed=1"))))
    assert titles == ["policy answers"]
    assert [p.start for p in first.pairs] == [p.start for p in second.pairs]
    assert first.run_id != second.run_id


def test_leftovers_of_a_killed_run_are_not_taken_for_whole(cell: Cell) -> None:
    config, clean = composed(cell("reward=random")), composed(cell("reward=random", "results_dir=elsewhere"))
    store = Store(config)
    unfinished = store.trained / "checkpoint.partial"
    for folder in (unfinished, store.checkpoint):  # the second: killed just before its history was written
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_text("junk")
        (folder / "stray.bin").write_text("junk")
    for path in (store.training, store.generations, store.verdicts, store.record, store.start):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(f".{path.name}.abc.partial").write_text('{"history": ')
    record = read_record(pipeline.run(config))
    assert record.run_id == clean.run_id
    assert len(record.history["step"]) == 2
    assert not unfinished.exists()
    assert not (store.checkpoint / "stray.bin").exists()
    assert responses(record, "policy") == greedy(str(store.checkpoint), [p.prompt for p in record.pairs])


def test_a_crash_in_training_leaves_nothing_that_counts(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    config = composed(cell("reward=random"))
    store = Store(config)

    def crash(*arguments: Any) -> Any:
        (arguments[-1].folder / "model.safetensors").write_text("half")
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(training, "train_grpo", crash)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(config)
    assert not store.training.exists() and not store.checkpoint.exists()
    assert len(read_record(pipeline.run(config)).history["step"]) == 2


def test_self_likelihood_is_of_the_start_and_not_of_the_policy(cell: Cell) -> None:
    """One frozen copy of the start, and one policy: after a large step, the two must differ."""
    config = composed(cell("reward=self_likelihood", "trainer.learning_rate=0.05", "trainer.warmup_steps=0"))
    reward = config.reward.instantiate()
    policy = load(config.generator)
    assert not {id(m) for m in reward.verifiers[0].engine.model.modules()} & {
        id(m) for m in policy.model.modules()
    }
    record = read_record(pipeline.run(config))
    prompt, response = record.pairs[0].prompt, "fox, bear."
    before = reward.variant(score_end_of_turn=False)([prompt], [response], [[1]])
    moved = type(reward)(str(Store(config).checkpoint))([prompt], [response], [[1]])
    assert before == type(reward)(config.generator)([prompt], [response], [[1]])
    assert abs(before[0] - moved[0]) > 1e-3
