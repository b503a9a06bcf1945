"""The oracle as judge: the response of higher true quality wins, equal qualities tie."""

from collections.abc import Callable

from cme.judges import JudgeVerdict, verdict_from_scores
from cme.records import Generation, Prompt


class OracleJudge:
    """Compares exact qualities in [0, 1]. For worlds with a known truth only."""

    def __init__(self, oracle: Callable[[str, str, bool], float]) -> None:
        self.oracle = oracle

    def rule(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
        """Compare two responses by their true quality."""
        if first.finished is None or second.finished is None:
            return JudgeVerdict("unscored", "it is not known whether the responses were finished")
        qualities = [self.oracle(prompt.text, g.response, bool(g.finished)) for g in (first, second)]
        return verdict_from_scores(qualities[0], qualities[1], margin=1e-9)
