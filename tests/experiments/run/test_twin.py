"""Another judge on a finished run: the record alone is enough, and nothing is trained or generated again."""

import json
import shutil
from pathlib import Path

import length_judge
import pytest
from chat_stub import ChatStub
from small_runs import Cell, comparable, composed, never

from cme.records import RunRecord, read_record
from experiments.config.validation import BadConfig
from experiments.run import evaluation, pipeline, preparation, training
from experiments.run.store import Store
from experiments.run.twin import find_twin

PLAIN = ("reward=random", "tracker=none")
SELECTED = ("trainer.max_steps=3", "selection.every=1", "selection.prompts=6")
COMPARED = "+evaluation.comparators.other=miniature:olmo-1/instruct"


@pytest.fixture
def by_length(stub: ChatStub) -> list[str]:
    """A judge behind a server that prefers the longer response, of which it reads 12 characters."""
    return length_judge.settings(stub, "judge.max_response_chars=12")


def test_another_judge_needs_nothing_but_the_record(
    cell: Cell, by_length: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*PLAIN, *SELECTED, COMPARED)
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
    assert again.run_id != first.run_id and Store(again).done
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
