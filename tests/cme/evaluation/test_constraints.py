"""IFEval's four scores, by lm-eval's own aggregation."""

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


def test_scores_are_lm_evals() -> None:
    theirs = [process_results(vars(p), [r]) for p, r in zip(PROMPTS, RESPONSES, strict=True)]
    scores = ifeval_scores("own", PROMPTS, RESPONSES)
    assert [score.n for score in scores] == [3, 6, 3, 6]
    for score in scores:
        values = [result[score.metric] for result in theirs]
        if score.metric.startswith("prompt"):
            assert score.value == pytest.approx(sum(values) / len(values)) and score.items == values
            assert score.stderr == pytest.approx(mean_stderr(values))
        else:
            assert score.value == pytest.approx(agg_inst_level_acc(values)) and score.stderr is None
    assert [score.stderr for score in ifeval_scores("own", PROMPTS[:1], RESPONSES[:1])] == [None] * 4
