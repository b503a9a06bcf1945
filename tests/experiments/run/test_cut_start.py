"""The cut start: cut where it says, judged against both sides, graded, and cheap."""

from dataclasses import replace
from typing import Any

import length_judge
import pytest
from chat_stub import ChatStub
from small_runs import Cell, composed, never

from cme.evaluation.cut_start import cut_at_sentence_end
from cme.miniature import vocabulary, world
from cme.models.generation import generate
from cme.records import CUT_START, Comparison, Generation, Grade, RunRecord, read_record
from experiments.plan import estimate
from experiments.run import comparators, evaluation, pipeline, preparation, training
from experiments.run.store import Store


def cut_of(record: RunRecord) -> Comparison:
    [found] = [c for c in record.comparisons or [] if c.name == CUT_START]
    return found


def test_a_record_has_the_cut_start_with_verdicts_and_grades(finished: Cell) -> None:
    config = composed(finished())
    record = read_record(Store(config).record)
    found, grades = cut_of(record), record.grades
    assert grades is not None and found.checkpoint == record.generator_checkpoint and found.start is not None
    assert found.responses == [cut_at_sentence_end(p.start) for p in record.pairs]
    sides = {
        "start": ([p.start for p in record.pairs], grades.start),
        "policy": ([p.policy for p in record.pairs], grades.policy),
        "cut": (found.responses, grades.cut_start),
    }
    for responses, graded in sides.values():
        assert graded == [
            Grade(round(truth.quality, 6), truth.fault, truth.parts)
            for p, r in zip(record.pairs, responses, strict=True)
            for truth in [world.grade(p.prompt, r.response, bool(r.finished))]
        ]
    for side, verdicts in (("start", found.start), ("policy", found.policy)):
        qualities = [
            (own.quality, cut.quality) for own, cut in zip(sides[side][1], grades.cut_start, strict=True)
        ]
        by_prompt = {p.prompt_id: pair for p, pair in zip(record.pairs, qualities, strict=True)}
        assert sorted((v.prompt_id, v.policy_first) for v in verdicts) == sorted(
            (p.prompt_id, order) for p in record.pairs for order in (True, False)
        )
        for v in verdicts:
            own, cut = by_prompt[v.prompt_id]
            first, second = (own, cut) if v.policy_first else (cut, own)
            assert v.outcome == ("tie" if own == cut else "first" if first > second else "second")
    assert record.blind_spots == {
        "generator": sorted(vocabulary.blind_spots("qwen")),
        "verifier": sorted(vocabulary.blind_spots("gemma")),
    }
    assert Store(config).done


def test_a_finished_run_gets_its_cut_start_without_a_model(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    off, on = composed(cell("evaluation.cut_start=false")), composed(cell())
    path = pipeline.run(off)
    assert read_record(path).comparisons is None and Store(off).done and not Store(on).done
    for name in ("resolve_weights", "comparator_responses"):
        monkeypatch.setattr(comparators, name, never)
    monkeypatch.setattr(training, "train_policy", never)
    preparation.prepare([on])
    assert pipeline.run(on) == path and cut_of(read_record(path)) and Store(on).done


def test_identical_responses_tie_without_a_call(
    cell: Cell, stub: ChatStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sentences(*arguments: Any, **settings: Any) -> list[Generation]:
        """Every second response of the untrained model has two sentences."""
        made = generate(*arguments, **settings)
        if settings["progress"] == "untrained model's responses":
            made[::2] = [replace(each, response=f"{each.response}. so it is") for each in made[::2]]
        return made

    monkeypatch.setattr(evaluation, "generate", sentences)
    judge = ("reward=random", *length_judge.settings(stub))
    pipeline.run(composed(cell(*judge, "evaluation.cut_start=false")))
    before = len(stub.bodies)
    run, plain = composed(cell(*judge)), composed(cell(*judge, "evaluation.cut_start=false"))
    longest, _ = estimate.bounds(run)
    calls, fewer = (estimate.judge_calls(each, longest, with_start=True)[0] for each in (run, plain))
    assert calls - fewer == 48  # policy and start, 12 prompts, both orders
    record = read_record(pipeline.run(composed(cell(*judge))))
    made = len(stub.bodies) - before
    found, asked = cut_of(record), set()
    for side, verdicts in (("policy", found.policy), ("start", found.start or [])):
        outcomes = {}
        for p, cut in zip(record.pairs, found.responses, strict=True):
            own = getattr(p, side)
            for order in (True, False):
                shown = (own, cut) if order else (cut, own)
                outcomes[p.prompt_id, order] = length_judge.outcome(*(g.response for g in shown))
                if (own.response, own.finished) != (cut.response, cut.finished):
                    asked.add((p.prompt, *((g.response, g.finished) for g in shown)))
        assert {(v.prompt_id, v.policy_first): v.outcome for v in verdicts} == outcomes
    judged_before = {
        (p.prompt, *((g.response, g.finished) for g in shown))
        for p in record.pairs
        for shown in ((p.policy, p.start), (p.start, p.policy))
    }
    assert 0 < made == len(asked - judged_before) < 48
