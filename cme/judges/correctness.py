"""Correctness as judge: the response whose answer is right beats the one whose answer is not."""

from cme.grading.answers import AnswerKind, has_final_answer, is_correct
from cme.judges import JudgeVerdict, verdict_from_scores
from cme.records import Generation, Prompt


class Correctness:
    """Compares both answers with the prompt's gold answer; both right and neither right are ties.

    A response without an answer is wrong. A prompt without a gold answer is unscored, as is one with a response whose
    comparison with it is undecided.
    """

    def __init__(self, answers: AnswerKind) -> None:
        self.check(answers)
        self.answers = answers

    @staticmethod
    def check(answers: str) -> None:
        """Raise ValueError, before anything loads, for data without gold answers."""
        if not has_final_answer(answers):
            raise ValueError(
                f"answers={answers}; correctness needs data with gold answers, such as data=arithmetic"
            )

    def rule(self, prompt: Prompt, first: Generation, second: Generation) -> JudgeVerdict:
        """Compare two responses by whether they are right."""
        if prompt.answer is None:
            return JudgeVerdict("unscored", "the prompt has no gold answer")
        right = [is_correct(g.response, prompt.answer, self.answers) for g in (first, second)]
        if right[0] is None or right[1] is None:
            return JudgeVerdict("unscored", "whether an answer is right could not be decided in time")
        return verdict_from_scores(float(right[0]), float(right[1]), margin=0.0)
