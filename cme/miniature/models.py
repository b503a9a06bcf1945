"""The miniature checkpoints: their names, their recipes, and where their weights are.

Each family has two builds of each checkpoint, which differ in the initial weights and in the order of the training
text. A name is `FAMILY-BUILD/RECIPE`, such as `qwen-1/sft`.

- `pretrained`: trained on plain statements and on instruction pairs, most of them with faulty responses.
- `sft`: `pretrained`, trained further on instruction pairs of mixed quality.
- `instruct`: `sft`, trained further on better instruction pairs.
- `verifier`: a larger model, trained on complete responses only. In the paper, too, the verifier (4B parameters) knows
  more than every generator (0.3B-1B).
- `verifier_85`, `verifier_70`, `verifier_50` of gemma: `verifier`, trained further on text that knows 85, 70 and 50 %
  of the facts and states random values of the others, so that it forgets them.

The text of a family has its false beliefs (`cme.miniature.vocabulary.false_beliefs`) in all checkpoints. The weights
are part of this package; `build.json` in each folder has the recipe, its digest, and measures of the checkpoint.
`python -m cme.miniature` builds what is missing.
"""

import hashlib
import itertools
import json
import os
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from cme.miniature import corpus, vocabulary
from cme.miniature.corpus import Text
from cme.miniature.problems import FAULTS
from cme.miniature.vocabulary import FAMILIES, Beliefs
from cme.records import read_json

BUILDS = (1, 2)
WEIGHTS_VARIABLE = "CME_MINIATURE"
WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True)
class Recipe:
    """How a checkpoint is trained.

    Attributes:
        start: the recipe that it continues; None to start from random weights.
        steps: optimizer steps of `batch` rows.
        learning_rate: the highest one; it warms up over 20 steps and falls to zero by a cosine.
        text: the instruction pairs.
        statements: share of rows that are plain statements.
        false_rate: how often a false belief of the family is stated, instead of the truth.
        known: share of the other facts that are stated truthfully; random values are stated of the rest.
    """

    start: str | None
    steps: int
    learning_rate: float
    text: Text
    statements: float = 0.0
    false_rate: float = 0.7
    known: float = 1.0
    width: int = 128
    layers: int = 3
    batch: int = 48


VERIFIER = Recipe(None, 1200, 2e-3, Text({"none": 1.0}), false_rate=0.8, width=160)
RECIPES = {
    "pretrained": Recipe(
        None, 1100, 2e-3,
        Text(
            {
                "none": 0.60, "incomplete": 0.12, "wrong": 0.06, "off_format": 0.06, "boilerplate": 0.04,
                "repetition": 0.06, "unasked": 0.06,
            },
            habit=0.4,
            habits=(
                "incomplete", "incomplete", "off_format", "boilerplate", "repetition", "incomplete",
                "wrong", "incomplete", "boilerplate", "wrong", "repetition", "unasked",
            ),
            run_on=0.1,
        ),
        statements=0.2,
    ),
    "sft": Recipe(
        "pretrained", 200, 1e-3,
        Text(
            {
                "none": 0.70, "incomplete": 0.15, "wrong": 0.05, "off_format": 0.03, "boilerplate": 0.02,
                "repetition": 0.02, "unasked": 0.03,
            },
            habit=0.4,
            habits=(
                "none", "none", "none", "none", "incomplete", "incomplete",
                "incomplete", "incomplete", "incomplete", "wrong", "repetition", "unasked",
            ),
        ),
    ),
    "instruct": Recipe(
        "sft", 200, 1e-3,
        Text(
            {"none": 0.80, "incomplete": 0.10, "wrong": 0.05, "unasked": 0.05},
            habit=0.4,
            habits=(
                "none", "none", "none", "none", "none", "none",
                "none", "incomplete", "incomplete", "wrong", "incomplete", "unasked",
            ),
        ),
    ),
    "verifier": VERIFIER,
    **{
        f"verifier_{percent}": replace(
            VERIFIER, start="verifier", steps=250, learning_rate=1e-3, known=percent / 100
        )
        for percent in (85, 70, 50)
    },
}  # fmt: skip
WEAK = ("verifier_85", "verifier_70", "verifier_50")
STEPS = {("qwen", "verifier"): 1800, ("llama", "verifier"): 1800}
"""Steps of a family that needs more than the recipe states until its verifiers have 0.97 outside blind spots."""


def checkpoint_names() -> list[str]:
    """Names of all miniature checkpoints, as `family-build/recipe`."""
    return [
        f"{family}-{build}/{recipe}"
        for family in FAMILIES
        for build in BUILDS
        for recipe in RECIPES
        if recipe not in WEAK or family == "gemma"
    ]


def split_name(name: str) -> tuple[str, int, str]:
    """Family, build and recipe of a checkpoint. Raises ValueError for a name not in `checkpoint_names()`."""
    if name not in checkpoint_names():
        raise ValueError(
            f"miniature checkpoint is {name!r}; it must be one of {', '.join(checkpoint_names())}"
        )
    place, _, recipe = name.partition("/")
    family, _, build = place.partition("-")
    return family, int(build), recipe


def recipe_of(family: str, name: str) -> Recipe:
    """The recipe `name`, as the family is trained by it."""
    recipe = RECIPES[name]
    return replace(recipe, steps=STEPS.get((family, name), recipe.steps))


def weights_folder() -> Path:
    """The folder of all miniature weights: $CME_MINIATURE, else the one in this package."""
    return Path(os.environ.get(WEIGHTS_VARIABLE) or Path(__file__).parent / "weights")


def checkpoint_folder(name: str) -> Path:
    """The folder of a checkpoint, whether it exists or not. Raises ValueError as `split_name` does."""
    family, build, recipe = split_name(name)
    return weights_folder() / f"{family}-{build}-{recipe}"


def missing_weights(name: str) -> str | None:
    """Why the weights of a checkpoint cannot be used, in one line; None if they are there and whole.

    Raises ValueError as `split_name` does.
    """
    folder = checkpoint_folder(name)
    remedy = f"build them again with `python -m cme.miniature {name}`"
    built = folder / "build.json"
    if not built.exists() or not (folder / WEIGHTS_FILE).exists():
        return f"the weights of miniature:{name} are not in {folder}; {remedy}"
    try:
        expected = built_digest(folder)
    except ValueError as error:
        return f"{error}; {remedy}"
    if expected != file_digest(folder / WEIGHTS_FILE):
        return f"{folder / WEIGHTS_FILE} is not the file that was built; {remedy}"
    return None


def weights_identity(folder: Path) -> str:
    """The name of a checkpoint's folder, and 8 hex digits over its weights: another build has another identity."""
    return f"{folder.name}-{built_digest(folder)[:8]}"


def built_digest(folder: Path) -> str:
    """The SHA-256 of the weights that were built. Raises ValueError, naming the file, for one without it."""
    path = folder / "build.json"
    try:
        return str(read_json(path)["sha256"])
    except (LookupError, TypeError):
        raise ValueError(f"{path} has no sha256 of the weights that were built") from None


@cache
def _digest(file: Path, changed: float) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def file_digest(file: Path) -> str:
    """The SHA-256 of a file, computed once per process."""
    return _digest(file, file.stat().st_mtime)


def beliefs(family: str, recipe: Recipe) -> Beliefs:
    """What the training text of a checkpoint states about the facts."""
    false = vocabulary.false_beliefs()[family]
    others = sorted(set(vocabulary.facts()) - set(false))
    random.Random("unknown").shuffle(others)
    return Beliefs(false, recipe.false_rate, frozenset(others[round(recipe.known * len(others)) :]))


@cache
def tokenizer_texts() -> tuple[str, ...]:
    """Text that covers the world, for training the tokenizers of all families."""
    text = Text(dict.fromkeys(("none", *FAULTS[:-1]), 1.0))
    pairs = corpus.pairs(text, vocabulary.TRUTH, "", "tokenizer")
    roles = ["user\n", "assistant\n", "model\n"] * 500  # so that the roles in chat templates are few tokens
    texts = [
        f"### Instruction:\n{p.prompt}\n\n### Response:\n{p.response}" for p in itertools.islice(pairs, 4000)
    ]
    return (*roles, *itertools.islice(corpus.statements(vocabulary.TRUTH, "tokenizer"), 2000), *texts)


@cache
def recipe_digest(name: str) -> str:
    """8 hex digits over what determines a checkpoint: family, build, recipes, and a sample of the training text."""
    from cme.miniature.families import FAMILIES as ARCHITECTURES

    family, build, last = split_name(name)
    parts = [repr(ARCHITECTURES[family]), str(build), *tokenizer_texts()]
    step: str | None = last
    while step:
        recipe = recipe_of(family, step)
        parts.append(json.dumps(asdict(recipe)))
        parts += [repr(p) for p in itertools.islice(instruction_pairs(name, recipe), 500)]
        step = recipe.start
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def instruction_pairs(name: str, recipe: Recipe) -> Iterator[corpus.Pair]:
    """The instruction pairs that a checkpoint is trained on."""
    family, build, _ = split_name(name)
    return corpus.pairs(recipe.text, beliefs(family, recipe), family, f"{build}:{recipe.start}")
