"""Generated word problems: mathematics at `scale=laptop`.

A problem is a template with two numbers. Its wording and its split depend only on these. The splits `train` and `eval`
have one or two steps and numbers from 2 to 12; `hard`, for evaluation alone, has two to four steps and numbers from 13
to 60.
"""

import hashlib
import itertools
import operator
import random
from collections.abc import Callable
from dataclasses import dataclass

from cme.data.files import check_split, sample_split
from cme.records import Prompt

SPLITS = ("train", "eval", "hard")
EVAL_PERCENT = 30
QUESTION = "{} Answer with a number."
NAMES = ("Anna", "Ben", "Carla", "David", "Emma", "Frank", "Grace", "Henry", "Lucy", "Tom")
THINGS = ("apples", "books", "coins", "eggs", "marbles", "pencils", "shells", "stamps", "stickers", "toys")


@dataclass(frozen=True)
class Template:
    """A kind of word problem.

    Attributes:
        key: identifies the template in the ids of its problems.
        story: the text, with the fields `{name}`, `{things}`, `{a}` and `{b}`.
        answer: the answer given a and b.
        allowed: whether a and b make a sensible problem.
    """

    key: str
    story: str
    answer: Callable[[int, int], int]
    allowed: Callable[[int, int], bool] = lambda a, b: True


_NOW = "How many {things} does {name} have now?"
_LEFT = "How many {things} are left?"
TEMPLATES = (
    Template("gain", "{name} has {a} {things} and gets {b} more. " + _NOW, operator.add),
    Template("lose", "{name} has {a} {things} and gives away {b}. " + _LEFT, operator.sub, operator.gt),
    Template(
        "boxes",
        "There are {a} boxes with {b} {things} in each. How many {things} are there in all?",
        operator.mul,
    ),
    Template(
        "share",
        "{name} shares {a} {things} equally among {b} friends. How many {things} does each friend get?",
        operator.floordiv,
        lambda a, b: a % b == 0,
    ),
    Template(
        "more",
        "{name} has {a} {things}. A friend has {b} more than {name}. How many {things} does the friend have?",
        operator.add,
    ),
    Template(
        "differ",
        "{name} has {a} {things} and a friend has {b}. How many more {things} does {name} have?",
        operator.sub,
        operator.gt,
    ),
    Template(
        "price",
        "Each of the {things} costs {a} dollars. How many dollars do {b} {things} cost?",
        operator.mul,
    ),
    Template(
        "twice",
        "{name} has {a} {things}, finds as many again, and then loses {b}. " + _LEFT,
        lambda a, b: 2 * a - b,
        lambda a, b: 2 * a > b,
    ),
    Template(
        "days", "{name} reads {a} pages a day. How many pages does {name} read in {b} days?", operator.mul
    ),
    Template(
        "both",
        "{name} buys {a} {things} on Monday and {b} on Tuesday. How many {things} does {name} buy in both days?",
        operator.add,
    ),
)


HARD_TEMPLATES = (
    Template(
        "packs",
        "{name} buys {a} packs of 12 {things} each and gives away {b} {things}. " + _LEFT,
        lambda a, b: 12 * a - b,
    ),
    Template(
        "week",
        "{name} reads {a} pages on each of five days and {b} pages on each of the two other days of the week. How many "
        "pages does {name} read in the week?",
        lambda a, b: 5 * a + 2 * b,
    ),
    Template(
        "change",
        "{name} buys {a} {things} for 3 dollars each and pays with {b} notes of 10 dollars. How many "
        "dollars does {name} get back?",
        lambda a, b: 10 * b - 3 * a,
        lambda a, b: 10 * b > 3 * a,
    ),
    Template(
        "half",
        "A shop has {a} {things}, sells half of them, and then receives two boxes with {b} {things} in each. How many "
        "{things} does the shop have now?",
        lambda a, b: a // 2 + 2 * b,
        lambda a, b: a % 2 == 0,
    ),
    Template(
        "rows",
        "A hall has {a} rows of {b} seats. People sit on all seats but those of three rows. How many people sit in the "
        "hall?",
        lambda a, b: (a - 3) * b,
    ),
    Template(
        "together",
        "{name} has {a} {things}. A friend has {b} fewer than {name}. How many {things} do both have together?",
        lambda a, b: 2 * a - b,
        operator.gt,
    ),
    Template(
        "bus",
        "A bus carries {a} people. At the first stop {b} people get off. At the second stop twice as many get on as "
        "got off before. How many people does the bus carry now?",
        operator.add,
        operator.gt,
    ),
    Template(
        "games",
        "{name} scores {a} points in the first game and {b} points more in the second. How many points does {name} "
        "score in both games?",
        lambda a, b: 2 * a + b,
    ),
)


def load_prompts(split: str, count: int, seed: int) -> list[Prompt]:
    """A random sample of `count` problems of `train`, `eval` or `hard`, with gold answers and references.

    Raises ValueError for another split, or if the split has fewer problems.
    """
    check_split(split, SPLITS)
    templates, numbers = (HARD_TEMPLATES, range(13, 61)) if split == "hard" else (TEMPLATES, range(2, 13))
    pool = [
        (template, a, b)
        for template, a, b in itertools.product(templates, numbers, numbers)
        if template.allowed(a, b) and split in ("hard", _split(template, a, b))
    ]
    return [_problem(*problem) for problem in sample_split(pool, count, split, seed, "word problems")]


def _split(template: Template, a: int, b: int) -> str:
    percent = int(hashlib.sha256(f"{template.key} {a} {b}".encode()).hexdigest(), 16) % 100
    return "eval" if percent < EVAL_PERCENT else "train"


def _problem(template: Template, a: int, b: int) -> Prompt:
    rng = random.Random(f"words:{template.key} {a} {b}")
    story = template.story.format(name=rng.choice(NAMES), things=rng.choice(THINGS), a=a, b=b)
    answer = str(template.answer(a, b))
    return Prompt(f"{template.key}-{a}-{b}", QUESTION.format(story), answer, f"The answer is {answer}.")
