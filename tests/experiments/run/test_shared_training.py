"""Runs that differ in their evaluation alone: one training, and each response of its policies, once."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked
import pytest
from endings import Ending, Killed, Steps
from small_runs import Cell, comparable, composed, count_generations

from cme import Unavailable
from cme.evaluation import capabilities
from cme.records import read_record
from experiments.run import evaluation, pipeline, preparation, training
from experiments.run.store import Store

PLAIN = ("reward=random", "tracker=none")
SELECTED = (*PLAIN, "trainer.max_steps=3", "selection.every=1", "selection.prompts=6")

REUSING = ("judge=local", "data.eval_prompts=8", "selection.every=1")
"""Runs that take over all responses, the policy alone, and the start's responses alone."""


class Work:
    """What runs do from here on: trainings, titles of generations, and measurements of capabilities."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trainings = self.measurements = 0
        self.titles = count_generations(monkeypatch)
        train, measure = training.train_grpo, capabilities.measure

        def counted_train(*arguments: Any) -> Any:
            self.trainings += 1
            return train(*arguments)

        def counted_measure(*arguments: Any, **settings: Any) -> Any:
            self.measurements += 1
            return measure(*arguments, **settings)

        monkeypatch.setattr(training, "train_grpo", counted_train)
        monkeypatch.setattr(evaluation, "measure", counted_measure)

    def of(self, run: Callable[[], object]) -> tuple[int, list[str], int]:
        """The work of a call."""
        before = self.trainings, len(self.titles), self.measurements
        run()
        return self.trainings - before[0], self.titles[before[1] :], self.measurements - before[2]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("judge=local", (0, [], 0)),
        ("data.eval_prompts=8", (0, ["untrained model's responses", "policy answers"], 0)),
        ("capabilities=world", (0, [], 2)),
        ("trainer.learning_rate=0.02", (1, ["policy answers"], 0)),
        ("selection.every=1", (1, ["policy answers"], 0)),
    ],
)
def test_a_run_does_what_its_training_s_other_runs_have_not_done(
    cell: Cell,
    finished: Cell,
    tiny_folder: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    override: str,
    expected: tuple[int, list[str], int],
) -> None:
    more = {
        "judge=local": [f"judge.checkpoint={tiny_folder('gemma')}"],
        "capabilities=world": ["capabilities.limit=2"],
        "selection.every=1": ["selection.prompts=6"],
    }
    words = [*PLAIN, override, *more.get(override, [])]
    run = composed(cell(*words))
    finished(*PLAIN)
    trained, titles, measured = Work(monkeypatch).of(lambda: pipeline.run(run))
    answers = [title for title in titles if not title.startswith("answers of")]
    if override == "selection.every=1":  # on the selection prompts, and of its own training
        answers.remove("untrained model's responses")
    assert (trained, answers, measured) == expected
    if override in REUSING:
        alone = read_record(pipeline.run(composed(cell(*words, f"results_dir={tmp_path / 'alone'}"))))
        assert comparable(read_record(Store(run).record)) == comparable(alone)


def test_another_judge_takes_the_saved_checkpoints_responses(
    cell: Cell, finished: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_record(Store(composed(finished(*SELECTED))).record)
    second = composed(cell(*SELECTED, "evaluation.both_orders=false"))
    assert Work(monkeypatch).of(lambda: pipeline.run(second)) == (0, [], 0)
    after = read_record(Store(second).record)
    assert before.trajectory is not None and after.trajectory is not None
    assert after.history == before.history and after.pairs == before.pairs
    points = [[each[:1] for each in c.points] for c in before.trajectory.checkpoints]
    assert points == [c.points for c in after.trajectory.checkpoints]


def test_saved_checkpoints_stay_until_all_runs_of_a_command_have_selected(cell: Cell) -> None:
    runs = [composed(cell(*SELECTED, f"selection.prompts={n}")) for n in (6, 7)]
    store = Store(runs[0])
    preparation.prepare(runs)
    pipeline.run(runs[0])
    assert len(list(store.checkpoint.glob("step-*"))) == 2
    pipeline.run(runs[1])
    assert not list(store.checkpoint.glob("step-*"))
    with pytest.raises(Unavailable, match=r"step-1 was deleted .*delete .*/trainings/.*selection\.keep=true"):
        pipeline.run(composed(cell(*SELECTED, "selection.prompts=8")))


def test_a_killed_training_continues_in_another_run(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*PLAIN, "trainer.max_steps=4", "checkpoint.every=1")
    with monkeypatch.context() as killing:
        killing.setattr(training, "callbacks", lambda *_: [Ending(3, None)])
        with pytest.raises(Killed):
            pipeline.run(composed(cell(*words)))
    steps = Steps()
    monkeypatch.setattr(training, "callbacks", lambda *_: [steps])
    record = read_record(pipeline.run(composed(cell(*words, "evaluation.both_orders=false"))))
    assert steps.taken == [3, 4] and record.history["step"] == [1, 2, 3, 4]
    pipeline.run(composed(cell(*words)))
    assert steps.taken == [3, 4]


def test_a_run_that_is_deleted_with_its_training_is_trained_again(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = composed(cell(*PLAIN))
    store, work = Store(run), Work(monkeypatch)
    pipeline.run(run)
    for path, expected in ((store.record, 0), (store.training, 1)):
        store.record.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        assert work.of(lambda: pipeline.run(run))[0] == expected
    assert read_record(store.record).environment["training"] == store.trained.name


def test_two_runs_at_the_same_time_train_once(cell: Cell, tmp_path: Path) -> None:
    lines = [cell(*PLAIN, f"evaluation.both_orders={orders}") for orders in ("true", "false")]
    variables = {"CME_MINIATURE": os.environ["CME_MINIATURE"], "OMP_NUM_THREADS": "1"}
    processes = [
        forked.start(line, tmp_path, variables, Path(os.devnull), tmp_path / f"stderr-{number}")
        for number, line in enumerate(lines)
    ]
    for process in processes:
        process.join(300)
    said = [(tmp_path / f"stderr-{number}").read_text() for number in range(2)]
    assert [process.exitcode for process in processes] == [0, 0], said
    assert sum(text.count("miniature:qwen-1/pretrained by random") for text in said) == 1
    records = [read_record(Store(composed(line)).record) for line in lines]
    assert records[0].run_id != records[1].run_id and records[0].pairs == records[1].pairs
    assert records[0].seconds["train"] == records[1].seconds["train"]
