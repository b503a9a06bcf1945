"""A run on prompts with constraints: its record has the shares that are met and IFEval's scores before and after."""

import pytest
from lm_eval.tasks.ifeval.utils import agg_inst_level_acc, process_results
from small_runs import Cell, composed

from cme.data.instruction_following import constraints
from cme.records import read_record
from experiments.run import pipeline

ON = ("data=instruction_following", "judge=instruction_following")


def test_the_record_has_ifevals_scores_of_start_and_policy(cell: Cell) -> None:
    arguments = cell(*ON, "reward=ground_truth", "evaluation.max_new_tokens=12")
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
