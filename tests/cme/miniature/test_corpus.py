"""Training text of the miniature models: what it states, and what is never in it. Digests of recipes pin the rest."""

from itertools import islice

import pytest

from cme.miniature import corpus, models, vocabulary, world
from cme.miniature.corpus import Text


@pytest.mark.parametrize("recipe", models.RECIPES)
def test_no_problem_of_an_evaluation_is_in_the_text(recipe: str) -> None:
    family = "gemma" if recipe in models.WEAK else "llama"
    stream = models.instruction_pairs(f"{family}-1/{recipe}", models.RECIPES[recipe])
    seen = {world.split_of(world.problem_of(p.prompt)) for p in islice(stream, 3000)}
    assert seen == {"train", "tune_train"}


def test_text_states_the_beliefs_and_else_the_truth() -> None:
    name, value = next(iter(vocabulary.false_beliefs()["olmo"].items()))
    beliefs = vocabulary.Beliefs({name: value}, 0.7)
    pairs = islice(corpus.pairs(Text({"none": 1.0}), beliefs, "qwen", "0"), 10_000)
    parts = [world.grade(pair.prompt, pair.response, pair.ended).parts for pair in pairs]
    stated = [right[name] for right in parts if name in right]
    assert len(stated) > 100 and abs(1 - sum(stated) / len(stated) - 0.7) < 0.1
    assert all(right for part in parts for other, right in part.items() if other != name)
