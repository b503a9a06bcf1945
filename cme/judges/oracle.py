"""The oracle as judge: the response of higher true quality wins, equal qualities tie."""

from collections.abc import Callable

from cme.judges.base import Judge, JudgeVerdict, verdict_from_scores
from cme.records import Generation, Prompt


class OracleJudge(Judge):
    """Compares exact qualities in [0, 1], for data whose truth is known, such as the miniature world.

    Args:
        oracle: quality of a response given (prompt, response, finished).
    """

    def __init__(self, oracle: Callable[[str, str, bool], float]) -> None:
        self.oracle = oracle

    def compare(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
        """Compare two responses by their true quality."""
        if first.finished is None or second.finished is None:
            return JudgeVerdict("unscored", "it is unknown whether both responses are finished")
        qualities = [self.oracle(prompt.text, g.response, bool(g.finished)) for g in (first, second)]
        return verdict_from_scores(qualities[0], qualities[1], margin=1e-9)
