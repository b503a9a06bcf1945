"""Accuracy on a mathematics track: which prompts are graded, and whether the responses to them are right."""

from collections.abc import Sequence
from dataclasses import replace

from cme.grading.answers import has_final_answer, is_correct
from cme.records import Accuracy, Generation, Pair, Prompt, Selected
from experiments.config.runs import Run


def judged_prompts(config: Run, prompts: Sequence[Prompt]) -> list[Prompt]:
    """The prompts as pairs and judges have them: with their gold answers where the data are a mathematics track."""
    return (
        list(prompts) if has_final_answer(config.data.answers) else [replace(p, answer=None) for p in prompts]
    )


def measure_accuracy(config: Run, pairs: Sequence[Pair], selected: Selected | None) -> Accuracy | None:
    """Whether the start's, the policy's and the selected checkpoint's responses are right; None on other data."""
    if not has_final_answer(config.data.answers):
        return None

    def graded(responses: Sequence[Generation]) -> list[bool | None]:
        return [
            is_correct(r.response, p.answer, config.data.answers)
            for p, r in zip(pairs, responses, strict=True)
        ]

    own = None if selected is None or selected.responses is None else graded(selected.responses)
    return Accuracy(graded([p.start for p in pairs]), graded([p.policy for p in pairs]), own)
