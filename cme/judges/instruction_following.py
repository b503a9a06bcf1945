"""Instruction following as judge: the response that meets more of its prompt's constraints wins, equal shares tie."""

from collections.abc import Mapping
from typing import Any

from cme.data import instruction_following as data
from cme.grading.constraints import check_packages
from cme.judges.base import Judge, JudgeVerdict, verdict_from_scores
from cme.records import Generation, Oracle, Prompt


class InstructionFollowing(Judge):
    """Compares the shares of constraints that two responses strictly meet, by IFEval's own checkers.

    The verdict is unscored for a prompt whose constraints are unknown.

    Args:
        oracle: the grade of (prompt, response, finished), `cme.data.instruction_following.grade`.
    """

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle

    @staticmethod
    def check(oracle: Mapping[str, Any] | None) -> None:
        """Raise ValueError for data without constraints, Unavailable if a package of the checkers is missing."""
        check_packages("judge=instruction_following")
        if oracle is None or oracle["_target_"] != f"{data.__name__}.{data.grade.__name__}":
            raise ValueError(
                "instruction_following needs prompts with constraints; use data=instruction_following, or another "
                "judge such as judge=reference_similarity"
            )

    @staticmethod
    def fingerprint(oracle: Mapping[str, Any]) -> str:
        """Digest of the constraints and of the version of the checkers."""
        return data.fingerprint(oracle["path"], oracle["eval_path"])

    def compare(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
        """Compare two responses by the share of constraints that each meets."""
        try:
            shares = [self.oracle(prompt.text, g.response, bool(g.finished)).quality for g in (first, second)]
        except data.UnknownPrompt as error:
            return JudgeVerdict("unscored", str(error))
        return verdict_from_scores(shares[0], shares[1], margin=1e-9)
