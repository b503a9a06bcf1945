"""What runs share: one training, each response once, and the responses of a run that differs in its judge alone."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked
import length_judge
import pytest
from chat_stub import ChatStub
from endings import Ending, Killed, Steps
from small_runs import Cell, comparable, composed, count_generations, never

from cme import Unavailable
from cme.evaluation import capabilities
from cme.records import RunRecord, read_record
from experiments.config.validation import BadConfig
from experiments.run import evaluation, pipeline, preparation, training
from experiments.run.cell import is_done
from experiments.run.store import Store
from experiments.run.twin import find_twin

PLAIN = ("reward=random", "tracker=none")
SELECTED = (*PLAIN, "trainer.max_steps=3", "selection.every=1", "selection.prompts=6")


@pytest.mark.parametrize(
    ("override", "titles"),
    [
        ("judge=local", []),
        ("data.eval_prompts=8", ["untrained model's responses", "policy answers"]),
        pytest.param("capabilities=world", [], marks=pytest.mark.slow),
    ],
)
def test_a_run_does_what_other_runs_of_its_training_have_not_done(
    cell: Cell,
    finished: Cell,
    tiny_folder: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    override: str,
    titles: list[str],
) -> None:
    more = {
        "judge=local": [f"judge.checkpoint={tiny_folder('gemma')}"],
        "capabilities=world": ["capabilities.limit=2"],
    }
    words = [*PLAIN, override, *more.get(override, [])]
    run = composed(cell(*words))
    finished(*PLAIN)
    with monkeypatch.context() as patch:
        patch.setattr(training, "train_grpo", never)
        generated = count_generations(patch)
        record = read_record(pipeline.run(run))
    assert generated == titles
    if override != "capabilities=world":
        alone = read_record(pipeline.run(composed(cell(*words, f"results_dir={tmp_path / 'alone'}"))))
        assert comparable(record) == comparable(alone)


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.fixture
def by_length(stub: ChatStub) -> list[str]:
    """A judge behind a server that prefers the longer response, of which it reads 12 characters."""
    return length_judge.settings(stub, "judge.max_response_chars=12")


def test_another_judge_needs_nothing_but_the_record(
    cell: Cell, by_length: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*SELECTED, "+evaluation.comparators.other=miniature:olmo-1/instruct")
    first = composed(cell(*words))
    before = read_record(pipeline.run(first))
    assert before.selected is not None and before.selected.responses is not None
    alone = read_record(pipeline.run(composed(cell(*words, *by_length, f"results_dir={tmp_path / 'alone'}"))))
    for folder in ("trainings", "starts", "verifiers"):
        shutil.rmtree(tmp_path / "runs" / folder, ignore_errors=True)
    for module, name in (
        (training, "train_policy"),
        (evaluation, "generate"),
        (pipeline, "measure_surprisal"),
    ):
        monkeypatch.setattr(module, name, never)
    again = composed(cell(*words, *by_length))
    preparation.prepare([again])
    after = read_record(pipeline.run(again))
    assert again.run_id != first.run_id and is_done(again)
    assert comparable(after) == comparable(alone)
    assert all(v.note is not None for v in after.verdicts) and len(after.warnings) == 3
    assert after.seconds["train"] == before.seconds["train"]
    assert (Store(again).folder / "selected_outputs.json").exists()
    assert not (tmp_path / "runs" / "trainings").exists()

    shutil.rmtree(Store(first).folder)  # so that the twin is the run of the judge that cuts responses
    preparation.prepare([oracle := composed(cell(*words, "evaluation.cut_start=false", "judge.name=exact"))])
    back = read_record(pipeline.run(oracle))
    kept = [c for c in before.comparisons or [] if c.name == "other"]
    assert (back.verdicts, back.selected, back.comparisons) == (before.verdicts, before.selected, kept)
    assert back.warnings == before.warnings and back.environment == before.environment


def test_a_twin_differs_in_its_judge_alone(finished: Cell, cell: Cell, by_length: list[str]) -> None:
    first = composed(finished(*PLAIN))
    record = read_record(Store(first).record)

    def twin(*words: str) -> RunRecord | None:
        run = composed(cell(*PLAIN, *words))
        return find_twin(run, Store(run))

    assert twin(*by_length) == twin(*by_length, "fail_fast=true") == record
    assert twin() is None, "a run is no twin of itself"
    for other in ("evaluation.both_orders=false", "seed=1", "data.eval_prompts=8", "trainer.max_steps=3"):
        assert twin(*by_length, other) is None
    raw = json.loads(Store(first).record.read_text())
    for broken in ({**raw, "neutral": None}, {**raw, "schema": 99}):
        Store(first).record.write_text(json.dumps(broken))
        assert twin(*by_length) is None


def test_a_judge_that_can_judge_no_response_of_the_twin_is_refused_first(finished: Cell, cell: Cell) -> None:
    first = composed(finished(*PLAIN))
    shutil.rmtree(Store(first).trained)
    other = composed(cell(*PLAIN, "judge=reference_similarity"))
    with pytest.raises(BadConfig, match=f"can judge none of .* of {first.run_id}: .* no reference answer"):
        preparation.prepare([other])
    assert not Store(other).folder.exists()


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
