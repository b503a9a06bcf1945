"""Correctness as judge: a correct answer beats an incorrect one."""

from dataclasses import replace

from cme.grading.answers import AnswerKind, gold_answer, has_final_answer, is_correct
from cme.judges.base import Judge, JudgeVerdict, verdict_from_scores
from cme.records import Generation, Prompt


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
