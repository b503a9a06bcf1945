"""Judges that know the truth: the response of higher exact quality wins, equal qualities tie.

The quality is that of an oracle, the correctness of the final answer, or the share of constraints that are met.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from cme.data import instruction_following as data
from cme.grading.answers import AnswerKind, gold_answer, has_final_answer, is_correct
from cme.grading.constraints import check_packages
from cme.judges.base import Judge, JudgeVerdict, verdict_from_scores
from cme.records import Generation, Grade, Oracle, Prompt


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


class Correctness(Judge):
    """Compares each response's final answer with the gold answer. Two correct or two incorrect answers tie.

    A response without an answer is incorrect. The verdict is unscored if the prompt has no gold answer
    that can be read, or if the comparison of an answer with it exceeds its time limit.

    Args:
        answers: how answers are extracted and compared, see `cme.grading.answers`.
    """

    def __init__(self, answers: AnswerKind) -> None:
        self.check(answers)
        self.answers = answers

    @staticmethod
    def check(answers: str) -> None:
        """Raise ValueError for data without gold answers."""
        if not has_final_answer(answers):
            raise ValueError(
                f"answers={answers}; correctness needs data with gold answers, such as data=arithmetic"
            )

    @staticmethod
    def missing(prompt: Prompt, *responses: Generation) -> str | None:
        """A sentence if the prompt has no gold answer."""
        return "the prompt has no gold answer" if prompt.answer is None else None

    def compare(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
        """Compare two responses by whether their answers are correct."""
        prompt = replace(prompt, answer=gold_answer(prompt.answer, self.answers))
        if (lack := self.missing(prompt)) is not None:
            return JudgeVerdict("unscored", lack)
        correct = [is_correct(g.response, prompt.answer, self.answers) for g in (first, second)]
        if correct[0] is None or correct[1] is None:
            return JudgeVerdict("unscored", "the correctness of an answer could not be decided in time")
        return verdict_from_scores(float(correct[0]), float(correct[1]), margin=0.0)


class InstructionFollowing(Judge):
    """Compares the shares of constraints that two responses strictly meet, by IFEval's own checkers.

    The verdict is unscored for a prompt whose constraints are unknown.

    Args:
        oracle: the grade of (prompt, response, finished), `cme.data.instruction_following.grade`.
        own_words: whether what a response repeats of its prompt is removed before it is graded, see
            `cme.grading.constraints.remove_repeated`.
    """

    def __init__(self, oracle: Callable[..., Grade], own_words: bool = False) -> None:
        self.oracle = partial(oracle, own_words=own_words)

    @staticmethod
    def check(oracle: Mapping[str, Any] | None, own_words: bool = False) -> None:
        """Raise ValueError for data without constraints, Unavailable if a package of the checkers is missing."""
        check_packages("judge=instruction_following")
        if oracle is None or oracle["_target_"] != f"{data.__name__}.{data.grade.__name__}":
            raise ValueError(
                "instruction_following needs prompts with constraints; use data=instruction_following, or another "
                "judge such as judge=reference_similarity"
            )

    @staticmethod
    def fingerprint(oracle: Mapping[str, Any], own_words: bool = False) -> str:
        """Digest of the constraints, of the version of the checkers and of the rules on repeated prompts."""
        return data.fingerprint(oracle["path"], oracle["eval_path"], own_words)

    def compare(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
        """Compare two responses by the share of constraints that each meets."""
        try:
            shares = [self.oracle(prompt.text, g.response, bool(g.finished)).quality for g in (first, second)]
        except data.UnknownPrompt as error:
            return JudgeVerdict("unscored", str(error))
        return verdict_from_scores(shares[0], shares[1], margin=1e-9)
