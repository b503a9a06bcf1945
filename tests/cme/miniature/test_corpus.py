"""What the miniature models read: the share of right answers is the one asked for."""

from itertools import islice

import pytest

from cme.miniature import corpus, world


@pytest.mark.parametrize("share", [0.0, 0.45, 1.0])
def test_the_share_of_right_pairs(share: float) -> None:
    read = list(islice(corpus.pairs(0, share), 2000))
    right = sum(p.ended and world.quality(p.prompt, p.response, True) == 1.0 for p in read) / len(read)
    # a poor pair may be right by chance, being another problem's good response
    assert share - 0.04 <= right <= share + 0.04 + 0.12 * (1 - share)
    if share == 1.0:
        assert right == 1.0


def test_every_kind_is_read_equally_often() -> None:
    read = [world.problem_of(p.prompt).kind for p in islice(corpus.pairs(1, 0.5), 3000)]
    assert all(abs(read.count(kind) / len(read) - 1 / 6) < 0.04 for kind in world.KINDS)


@pytest.mark.parametrize("stream", [corpus.statements, lambda seed: corpus.pairs(seed, 0.5)])
def test_streams_follow_their_seed(stream: object) -> None:
    draw = lambda seed: list(islice(stream(seed), 50))  # type: ignore[operator]  # noqa: E731
    assert draw(0) == draw(0)
    assert draw(0) != draw(1)
