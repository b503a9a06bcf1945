"""Answers of known worth to the same prompts, scored by every reward: what each would push a policy towards.

Nothing is trained. For each prompt there are nine answers, from nothing at all to a right one; a reward that
puts another one above the right one is a reward that a policy can raise without getting better.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tqdm import tqdm

from cme.grading.answers import normalize_text
from cme.miniature import world
from cme.models import chat
from cme.records import Prompt
from cme.scoring.untrained import bind

if TYPE_CHECKING:
    from cme.checkpoints import Checkpoint
    from cme.miniature.problems import Problem
    from cme.scoring.token_scorer import TokenScores
    from cme.scoring.verifier import Engine

Reward = Callable[..., list[float | None]]

GRADES = (
    "empty",
    "repeated word",
    "prompt copied",
    "refusal",
    "boilerplate",
    "truncated",
    "verbose",
    "wrong",
    "right",
)
"""
empty: nothing but the end of the turn. repeated word: the right answer's longest word ten times, without an end.
prompt copied: the prompt. refusal, boilerplate: one phrase each, which would go with any prompt. truncated: the
first half of the right answer, without an end. verbose: the right answer, then sentences beside the point.
wrong: another prompt's right answer. right: the reference answer.
"""


@dataclass(frozen=True)
class GradedAnswer:
    """One answer to a prompt; `grade` is one of GRADES, `finished` says that its end of turn belongs to it."""

    prompt: Prompt
    grade: str
    text: str
    finished: bool


@dataclass(frozen=True)
class StockPhrases:
    """What is said alike to every prompt."""

    refusal: str
    boilerplate: str
    padding: str


_OPEN = StockPhrases(
    refusal="I'm sorry, but I can't help with that.",
    boilerplate="Certainly! I'd be happy to help.",
    padding="I hope this helps. There are of course many ways to look at it, and it is always worth taking a "
    "moment to think it over. Please let me know if you would like to hear more.",
)
# In words that the world has, since its models would tell others by their spelling alone. It has none to refuse in.
_WORLD = StockPhrases(
    refusal="i cannot answer that.",
    boilerplate="the sentence is a sentence.",
    padding="the hammer has the rope. the lamp finds the bell near the spoon. the brush likes the lamp.",
)


def graded_answers(prompts: Sequence[Prompt], seed: int) -> list[GradedAnswer]:
    """The nine answers to each prompt, prompt by prompt in the order of GRADES; a function of its arguments.

    The right answer is the prompt's reference, or, for a prompt of the miniature world, one which its oracle
    grades 1. A wrong one is right for another of the prompts: in the world for one of the same kind if it can
    be, and one which the oracle grades as low as any. Raises ValueError for a prompt without a right or a wrong
    answer.
    """
    rights = {p.id: _right(p, random.Random(f"right:{seed}:{p.id}")) for p in prompts}
    kinds = {p.id: _kind(p) for p in prompts}
    answers = []
    for prompt in prompts:
        right = rights[prompt.id]
        alike = [rights[p.id] for p in prompts if kinds[p.id] == kinds[prompt.id]]
        rng = random.Random(f"wrong:{seed}:{prompt.id}")
        wrong = _wrong(prompt, right, alike, rng) or _wrong(prompt, right, list(rights.values()), rng)
        if wrong is None:
            raise ValueError(f"no other prompt has an answer that is wrong for prompt {prompt.id!r}")
        stock = stock_phrases(prompt)
        longest = max(normalize_text(right).split(), key=len)
        texts = (
            ("", True),
            (" ".join([longest] * 10), False),
            (prompt.text, True),
            (stock.refusal, True),
            (stock.boilerplate, True),
            (right[: len(right) // 2].rstrip(), False),
            (f"{right} {stock.padding}", True),
            (wrong, True),
            (right, True),
        )
        answers += [GradedAnswer(prompt, g, *text) for g, text in zip(GRADES, texts, strict=True)]
    return answers


def stock_phrases(prompt: Prompt) -> StockPhrases:
    """The phrases for a prompt: the world's words for one of its prompts."""
    return _OPEN if _problem(prompt) is None else _WORLD


def _right(prompt: Prompt, rng: random.Random) -> str:
    problem = _problem(prompt)
    right = prompt.reference or (problem and problem.good(rng))
    if not right or not normalize_text(right):
        raise ValueError(f"prompt {prompt.id!r} has no reference answer")
    return right


def _wrong(prompt: Prompt, right: str, others: Sequence[str], rng: random.Random) -> str | None:
    """One of the other answers that are worst for the prompt; None where all are as good as the right one."""
    if _problem(prompt) is None:
        worth = {other: float(other == right) for other in others}
    else:
        worth = {other: world.quality(prompt.text, other, True) for other in others}
    lowest = min(worth.values())
    return rng.choice([o for o, w in worth.items() if w == lowest]) if lowest < 1 else None


def _kind(prompt: Prompt) -> str | None:
    problem = _problem(prompt)
    return None if problem is None else problem.kind


def _problem(prompt: Prompt) -> "Problem | None":
    """The problem of a prompt of the miniature world; None for any other prompt."""
    try:
        return world.problem_of(prompt.text)
    except ValueError:
        return None


def score_answers(
    rewards: Mapping[str, Reward], answers: Sequence[GradedAnswer], start: "Checkpoint"
) -> dict[str, dict[str, list[float | None]]]:
    """Each reward's values of the answers that `graded` gives: by reward, then grade, one a prompt.

    The rewards are called as TRL calls them, the nine answers to a prompt being a group and their tokens those of
    `start`, the untrained policy, which also stands where a reward asks for the live one. None stays None.
    Raises ValueError for a value that is not finite.
    """
    end = start.tokenizer.eos_token_id
    prompts = [[{"role": "user", "content": a.prompt.text}] for a in answers]
    completions = [[{"role": "assistant", "content": a.text}] for a in answers]
    ids = [[*chat.response_ids(start.tokenizer, a.text), *[end] * a.finished] for a in answers]
    values = {}
    bar = tqdm(rewards.items(), leave=False, mininterval=1)
    for name, reward in bar:
        bar.set_description(name)
        bind(reward, start)
        given = reward(
            prompts,
            completions,
            ids,
            answer=[a.prompt.answer for a in answers],
            log_metric=lambda key, value: None,
        )
        if broken := [v for v in given if v is not None and not math.isfinite(v)]:
            raise ValueError(f"reward {name!r} gave {broken[0]} for {len(broken)} of {len(given)} answers")
        values[name] = {grade: given[i :: len(GRADES)] for i, grade in enumerate(GRADES)}
    return values


class CachedEngine:
    """An engine that scores each (prompt, response) once, however many rewards ask for it."""

    def __init__(self, engine: "Engine") -> None:
        self.engine = engine
        self._known: dict[tuple[tuple[int, ...], tuple[int, ...], bool], TokenScores] = {}

    def score(
        self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], *, entropy: bool = False
    ) -> "list[TokenScores]":
        """Scores of each response's token ids given its prompt's, as the engine gives them."""
        keys = [(tuple(p), tuple(r), entropy) for p, r in zip(prompts, responses, strict=True)]
        new = [key for key in dict.fromkeys(keys) if key not in self._known]
        if new:
            found = self.engine.score([p for p, _, _ in new], [r for _, r, _ in new], entropy=entropy)
            self._known |= dict(zip(new, found, strict=True))
        return [self._known[key] for key in keys]
