"""Training text of the miniature models: shares of good responses and of kinds."""

import random
from itertools import islice

import pytest

from cme.miniature import corpus, world


def draw(count: int, share: float, seed: int = 0) -> list[corpus.Pair]:
    rng = random.Random(seed)
    return [corpus.pair(rng, share) for _ in range(count)]


@pytest.mark.parametrize("share", [0.0, 0.45, 1.0])
def test_the_share_of_good_pairs(share: float) -> None:
    pairs = draw(2000, share)
    right = sum(p.ended and world.quality(p.prompt, p.response, True) == 1.0 for p in pairs) / len(pairs)
    # a poor pair can be right by chance, as a good response to another problem
    assert share - 0.04 <= right <= share + 0.04 + 0.12 * (1 - share)
    if share == 1.0:
        assert right == 1.0


def test_all_kinds_are_equally_frequent() -> None:
    kinds = [world.problem_of(p.prompt).kind for p in draw(3000, 0.5, seed=1)]
    assert all(abs(kinds.count(kind) / len(kinds) - 1 / 6) < 0.04 for kind in world.KINDS)


def test_text_depends_on_the_seed() -> None:
    assert draw(50, 0.5) == draw(50, 0.5) != draw(50, 0.5, seed=1)
    statements = [list(islice(corpus.statements(seed), 50)) for seed in (0, 0, 1)]
    assert statements[0] == statements[1] != statements[2]
