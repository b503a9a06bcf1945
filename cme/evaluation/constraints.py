"""IFEval's scores of responses to prompts with verifiable constraints."""

from collections.abc import Sequence
from math import sqrt
from statistics import fmean, stdev

from cme.evaluation.capabilities import Score
from cme.grading.constraints import ConstrainedPrompt, loosely_met, strictly_met


def ifeval_scores(task: str, prompts: Sequence[ConstrainedPrompt], responses: Sequence[str]) -> list[Score]:
    """IFEval's four scores, strict and loose, with lm-eval's names.

    `prompt_level` is the share of prompts all of whose constraints are met, with its standard error; `inst_level` is
    the share of all constraints that are met.
    """
    scores = []
    for rule, met in (("strict", strictly_met), ("loose", loosely_met)):
        followed = list(map(met, prompts, responses))
        items = [float(all(one)) for one in followed]
        every = [value for one in followed for value in one]
        stderr = stdev(items) / sqrt(len(items)) if len(items) > 1 else None
        scores += [
            Score(task, f"prompt_level_{rule}_acc", len(items), fmean(items), stderr, items),
            Score(task, f"inst_level_{rule}_acc", len(every), fmean(every), None, None),
        ]
    return scores
