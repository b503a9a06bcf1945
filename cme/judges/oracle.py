"""The oracle as judge: the response of higher true quality wins, equal qualities tie."""

from cme.judges.base import Judge, JudgeVerdict, verdict_from_scores
from cme.records import Generation, Oracle, Prompt


class OracleJudge(Judge):
    """Compares exact qualities in [0, 1], for data whose truth is known, such as the miniature world.

    Args:
        oracle: the grade of a response, given (prompt, response, finished).
    """

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle

    @staticmethod
    def missing(prompt: Prompt, *responses: Generation) -> str | None:
        """A sentence if it is unknown whether a response is finished, as for outputs from a file."""
        unknown = any(response.finished is None for response in responses)
        return "it is unknown whether both responses are finished" if unknown else None

    def compare(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
        """Compare two responses by their true quality."""
        if (lack := self.missing(prompt, first, second)) is not None:
            return JudgeVerdict("unscored", lack)
        qualities = [self.oracle(prompt.text, g.response, bool(g.finished)).quality for g in (first, second)]
        return verdict_from_scores(qualities[0], qualities[1], margin=1e-9)
