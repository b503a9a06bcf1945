"""IFEval's four scores, by hand and by lm-eval's own aggregation."""

import pytest
from lm_eval.api.metrics import mean_stderr
from lm_eval.tasks.ifeval.utils import agg_inst_level_acc, process_results

from cme.evaluation.capabilities import ifeval_scores
from cme.grading.constraints import ConstrainedPrompt

COMMA, QUOTED, TITLE = "punctuation:no_comma", "startend:quotation", "detectable_format:title"
PROMPTS = [
    ConstrainedPrompt(1, "Name a drink.", [COMMA, QUOTED], [{}, {}]),
    ConstrainedPrompt(2, "Name a town.", [COMMA], [{}]),
    ConstrainedPrompt(3, "Name a tree.", [COMMA, QUOTED, TITLE], [{}, {}, {}]),
]
RESPONSES = ['"Tea"', "Sure, here:\nRome", "<<Oak>>"]


def test_scores_are_shares_of_prompts_and_of_constraints() -> None:
    by_metric = {score.metric: score for score in ifeval_scores("own", PROMPTS, RESPONSES)}
    assert {metric: (score.n, score.value) for metric, score in by_metric.items()} == {
        "prompt_level_strict_acc": (3, pytest.approx(1 / 3)),
        "inst_level_strict_acc": (6, pytest.approx(4 / 6)),
        "prompt_level_loose_acc": (3, pytest.approx(2 / 3)),
        "inst_level_loose_acc": (6, pytest.approx(5 / 6)),
    }
    assert by_metric["prompt_level_strict_acc"].items == [1.0, 0.0, 0.0]
    assert by_metric["prompt_level_loose_acc"].items == [1.0, 1.0, 0.0]
    assert {score.task for score in by_metric.values()} == {"own"}


def test_scores_are_lm_evals() -> None:
    theirs = [process_results(vars(p), [r]) for p, r in zip(PROMPTS, RESPONSES, strict=True)]
    for score in ifeval_scores("own", PROMPTS, RESPONSES):
        values = [result[score.metric] for result in theirs]
        if score.metric.startswith("prompt"):
            assert score.value == pytest.approx(sum(values) / len(values))
            assert score.stderr == pytest.approx(mean_stderr(values))
        else:
            assert score.value == pytest.approx(agg_inst_level_acc(values)) and score.stderr is None


def test_a_single_prompt_has_no_standard_error() -> None:
    assert [score.stderr for score in ifeval_scores("own", PROMPTS[:1], RESPONSES[:1])] == [None] * 4
