"""Stages that only some runs have: accuracy, capabilities, constraints, verifier responses, trackers, templates."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from endings import Ending, Killed
from lm_eval.tasks.ifeval.utils import agg_inst_level_acc, process_results
from small_runs import Cell, composed, count_generations, greedy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from analysis.tables.accuracy import accuracy_frame
from cme.checkpoints import load
from cme.data.instruction_following import constraints
from cme.evaluation import capabilities
from cme.miniature import world
from cme.models import template_variables
from cme.records import Generation, Pair, RunRecord, Selected, read_record
from cme.training import trackers
from experiments.run import evaluation, pipeline, training
from experiments.run.store import Store


def test_arithmetic_is_graded_in_training_and_in_evaluation(cell: Cell) -> None:
    arguments = cell(
        "data=arithmetic", "judge=correctness", "reward=cme_answer", "evaluation.max_new_tokens=12"
    )
    record = read_record(pipeline.run(composed(arguments)))
    assert "accuracy" in record.history
    assert record.accuracy is not None and record.accuracy.selected is None
    for pair, start, policy in zip(record.pairs, record.accuracy.start, record.accuracy.policy, strict=True):
        problem = world.problem_of(pair.prompt)
        assert pair.answer == problem.answer  # type: ignore[attr-defined]
        for generation, right in ((pair.start, start), (pair.policy, policy)):
            numbers = [w for w in generation.response.replace(".", " ").split() if w.isdigit()]
            if len(numbers) == 1 and generation.response.split()[-1].rstrip(".") == numbers[0]:
                assert right == (numbers[0] == pair.answer)
    assert all(verdict.scores is not None for verdict in record.verdicts)
    [row] = accuracy_frame([record]).to_dict("records")
    assert (row["data"], row["prompts"], row["no_answer"], row["undecided"]) == ("arithmetic", 12, 0, 0)


def test_start_policy_and_selected_are_graded_by_their_own_responses(cell: Cell) -> None:
    config = composed(cell("data=arithmetic"))
    said = [Generation(text, True, 1) for text in ("7", "8", "no idea", "7. 8")]
    pairs = [Pair(str(i), "q", None, g, said[0], "7") for i, g in enumerate(said)]
    pairs.append(replace(pairs[0], prompt_id="4", answer=None))
    selected = Selected(3, [*said[::-1], said[0]], [])
    found = evaluation.measure_accuracy(config, pairs, selected)
    assert found is not None
    assert found.start == [True, False, False, False, None]
    assert found.policy == [True, True, True, True, None]
    assert found.selected == [False, False, False, True, None]


@pytest.mark.usefixtures("packages_are_not_listed")
def test_before_and_after_are_of_start_and_policy(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def counted(checkpoint: Any, *rest: Any, **settings: Any) -> Any:
        measured.append(checkpoint.name)
        return capabilities.measure(checkpoint, *rest, **settings)

    monkeypatch.setattr(evaluation, "measure", counted)
    moved = ("trainer.learning_rate=0.05", "trainer.warmup_steps=0")
    configs = [
        composed(cell("capabilities=world", "capabilities.limit=4", reward, *moved))
        for reward in ("reward=random", "reward=ground_truth")
    ]
    [record, other] = [read_record(pipeline.run(config)) for config in configs]
    start, policy = "miniature:qwen-1/pretrained", str(Store(configs[0]).checkpoint)
    assert measured == [start, policy, str(Store(configs[1]).checkpoint)]
    assert record.capabilities is not None and record.seconds["capabilities"] > 0
    assert [c.before for c in other.capabilities or []] == [c.before for c in record.capabilities]
    tasks = list(configs[0].capabilities.tasks)
    for which, name in (("before", start), ("after", policy)):
        scores = capabilities.measure(load(name), tasks, chat_template=False, limit=4, batch_size=3)
        found = [
            (c.task, c.metric, c.n, getattr(c, which), getattr(c, f"{which}_items"))
            for c in record.capabilities
        ]
        assert found == [(s.task, s.metric, s.n, s.value, s.items) for s in scores]


def test_the_record_has_ifevals_scores_of_start_and_policy(cell: Cell) -> None:
    arguments = cell(
        "data=instruction_following",
        "judge=instruction_following",
        "reward=ground_truth",
        "evaluation.max_new_tokens=12",
    )
    record = read_record(pipeline.run(composed(arguments)))
    assert record.capabilities is not None and record.grades is not None
    for side in ("start", "policy"):
        theirs = [
            process_results(vars(constraints(pair.prompt)), [getattr(pair, side).response])
            for pair in record.pairs
        ]
        for found in record.capabilities:
            values = [result[found.metric] for result in theirs]
            expected = (
                sum(values) / len(values) if found.metric.startswith("prompt") else agg_inst_level_acc(values)
            )
            assert getattr(found, {"start": "before", "policy": "after"}[side]) == pytest.approx(expected)
        for grade, result in zip(getattr(record.grades, side), theirs, strict=True):
            assert list(grade.parts.values()) == result["inst_level_strict_acc"]
    assert {found.task for found in record.capabilities} == {"instruction_following"}
    assert {found.metric for found in record.capabilities} == {
        f"{level}_level_{rule}_acc" for level in ("prompt", "inst") for rule in ("strict", "loose")
    }
    for verdict in record.verdicts:
        graded = record.grades.policy if verdict.policy_first else record.grades.start
        index = [pair.prompt_id for pair in record.pairs].index(verdict.prompt_id)
        assert verdict.scores is not None and verdict.scores[0] == graded[index].quality
    assert "quality" in record.history


def test_the_verifiers_own_responses_are_greedy_and_made_once_for_two_runs(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = count_generations(monkeypatch)
    first = read_record(pipeline.run(composed(cell("trainer.max_steps=1"))))
    second = read_record(pipeline.run(composed(cell("trainer.max_steps=1", "seed=1", "trainer.beta=0.1"))))
    assert titles.count("verifier responses") == 1
    assert (
        first.verifier_responses
        == second.verifier_responses
        == greedy("miniature:gemma-1/verifier", [p.prompt for p in first.pairs])
    )
    assert first.verifier_responses != [replace(p.start, surprisal=None) for p in first.pairs]


@pytest.mark.parametrize(
    ("arguments", "who"),
    [
        (("reward=cme",), "miniature:gemma-1/verifier"),
        (("verifier=random",), "random:miniature:gemma-1/verifier"),
        (("reward=token_entropy",), None),
        (("reward.verifier=[miniature:gemma-1/verifier,miniature:llama-1/verifier]",), None),
        (("reward.server={url: 'http://localhost:1', model: m, dialect: vllm}",), None),
        (("trainer=sft",), "miniature:gemma-1/verifier"),
        (("reward=cme", "evaluation.verifier_responses=false"), None),
    ],
)
def test_which_verifier_responds(arguments: tuple[str, ...], who: str | None) -> None:
    assert composed([*arguments]).responding_verifier == who


GENERATOR, VERIFIER = "chat_template.generator.date=2025-01-31", "chat_template.verifier.date=2025-02-01"
ROLES = {"qwen": "2025-01-31", "gemma": "2025-02-01", "olmo": "2025-02-01"}
"""Generator, verifier and held-out verifier by their families. A saved policy has those that it was saved with."""


def test_each_model_has_the_template_variables_of_its_role(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = ("capabilities=world", "capabilities.limit=2", "selection.every=1", "selection.prompts=2")
    models = ("reward=reverse_kl", "+evaluation.comparators.sft=miniature:qwen-1/sft")
    run = composed(cell(*stages, *models, GENERATOR, VERIFIER))
    seen: list[tuple[str, Any]] = []
    set_variables = template_variables.set_variables

    def noted(tokenizer: Any, values: Any = None) -> None:
        seen.append((Path(tokenizer.name_or_path).name.split("-")[0], (values or {}).get("date")))
        set_variables(tokenizer, values)

    monkeypatch.setattr(template_variables, "set_variables", noted)
    record = read_record(pipeline.run(run))
    assert record.config["chat_template"] == run.values["chat_template"]
    assert {name for name, _ in seen} >= {"qwen", "olmo"}
    assert [one for one in seen if one[1] != ROLES.get(one[0], one[1])] == []


def check_tensorboard(config: Any, record: RunRecord) -> None:
    """It has the record's history: each value at its step, once, to the six digits that a record keeps."""
    events = EventAccumulator(str(Store(config).trained / "tensorboard")).Reload()
    columns = {name: values for name, values in record.history.items() if name != "step"}
    for column, values in columns.items():
        seen = events.Scalars(f"train/{column}") if f"train/{column}" in events.Tags()["scalars"] else []
        measured = [(s, v) for s, v in zip(record.history["step"], values, strict=True) if v is not None]
        assert [(e.step, float(f"{e.value:.6g}")) for e in seen] == measured
    assert "reward" in columns and "quality" in columns


def test_a_killed_training_goes_on_in_tensorboard(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    config = composed(cell("trainer.max_steps=5", "checkpoint.every=2"))
    with monkeypatch.context() as killing:
        callbacks = training.callbacks
        killing.setattr(training, "callbacks", lambda r, s: [*callbacks(r, s), Ending(4, None)])
        with pytest.raises(Killed):
            pipeline.run(config)
    record = read_record(pipeline.run(config))
    assert record.history["step"] == [1, 2, 3, 4, 5]
    assert len(list((Store(config).trained / "tensorboard").iterdir())) == 2, "a file a start"
    assert record.warnings == []
    check_tensorboard(config, record)


def test_a_tracker_is_no_part_of_a_run(cell: Cell) -> None:
    cells = [composed(cell(f"tracker={name}")) for name in ("tensorboard", "wandb", "none")]
    assert len({config.run_id for config in cells}) == 1
    assert len({str(training.tracked_settings(config)) for config in cells}) == 1
    [progress] = training.callbacks(cells[-1], Store(cells[-1]))
    assert isinstance(progress, training.ProgressFile)


def test_a_run_is_known_by_its_names_and_settings(cell: Cell) -> None:
    config = composed(cell("experiment=main_table"))
    [_, callback] = training.callbacks(config, Store(config))
    assert callback.run.id == Store(config).trained.name and callback.run.project == "cme-main_table"
    settings = callback.run.settings
    assert (
        settings["family.name"] == "qwen"
        and settings["trainer.learning_rate"] == config.trainer.learning_rate
    )
    assert not any(name.startswith(("experiment.sweep", "family.checkpoints")) for name in settings)
    config = replace(config, values=config.values | {"generator": "https://me:hunter2@host/model"})
    assert training.tracked_settings(config)["generator"] == "https://***@host/model"


def test_a_failed_tracker_is_in_the_record(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> Any:
        raise PermissionError("no write access to https://me:hunter2@host/")

    config = composed(cell("tracker=trackio"))
    monkeypatch.setitem(trackers.OPENERS, "trackio", refused)
    record = read_record(pipeline.run(config))
    assert record.history["step"] == [1, 2]
    assert record.warnings == [
        "tracker=trackio failed at step 0: PermissionError: no write access to https://***@host/",
        "tracker=trackio lacks the steps after 0; the run's record has them",
    ]
