"""Generation that is interrupted after some batches ends as the one that was not."""

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cme import Unavailable
from cme.checkpoints import Checkpoint
from cme.miniature import world
from cme.models import generation
from cme.models.generation import generate_ids
from cme.models.generation_log import GenerationLog

Tiny = Callable[..., Checkpoint]
PROMPTS = [p.text for p in world.load_prompts("eval", 11, 0)]


class Killed(Exception):
    pass


class Batches:
    """Generation in batches, counted, the process being killed before the one that is one too many."""

    def __init__(self, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
        self.checkpoint, self.made, self.limit = checkpoint, 0, 100
        batch = generation._generate_batch

        def counted(*arguments: Any) -> Any:
            if self.made == self.limit:
                raise Killed
            self.made += 1
            return batch(*arguments)

        monkeypatch.setattr(generation, "_generate_batch", counted)

    def __call__(self, log: GenerationLog | None, limit: int = 100, **settings: Any) -> list[list[int]]:
        self.made, self.limit = 0, limit
        given: dict[str, Any] = {"max_new_tokens": 5, "batch_size": 2} | settings
        return generate_ids(self.checkpoint.model, self.checkpoint.tokenizer, PROMPTS, log=log, **given)


@pytest.fixture
def batches(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> Batches:
    return Batches(tiny("qwen"), monkeypatch)


@pytest.mark.parametrize(
    "settings",
    [{}, {"temperature": 1.0, "seed": 3}, {"temperature": 1.0}],
    ids=["greedy", "sampled", "from torch's own generator"],
)
def test_it_goes_on_where_it_was(batches: Batches, tmp_path: Path, settings: dict[str, Any]) -> None:
    torch.manual_seed(7)
    whole = batches(None, **settings)
    after = torch.rand(2)
    assert batches.made == 6
    path = tmp_path / "deep" / "stage.jsonl"
    for limit in (2, 3):  # killed twice
        torch.manual_seed(7)
        with pytest.raises(Killed):
            batches(GenerationLog(path, "these weights"), limit, **settings)
    torch.manual_seed(7)
    log = GenerationLog(path, "these weights")
    assert batches(log, **settings) == whole
    assert batches.made == 1 and log.seconds > 0
    assert torch.equal(torch.rand(2), after), "torch's generator is where it would have been"
    log.delete()
    assert not path.exists()


@pytest.mark.parametrize(
    ("spoil", "again"),
    [
        (lambda text: text[:-20], 1),  # torn
        (lambda text: text + '{"rows": [1', 0),
        (lambda text: text.replace('"ids"', '"odd"'), 3),
        (lambda text: "", 3),
        (lambda text: "\x00" * 40, 3),  # what a lost machine can leave
    ],
)
def test_what_cannot_be_read_is_made_again(
    batches: Batches, tmp_path: Path, spoil: Callable[[str], str], again: int
) -> None:
    whole, path = batches(None), tmp_path / "stage.jsonl"
    with pytest.raises(Killed):
        batches(GenerationLog(path, "these weights"), 3)
    path.write_text(spoil(path.read_text()))
    with pytest.raises(Killed):
        batches(GenerationLog(path, "these weights"), again + 1)
    assert batches(GenerationLog(path, "these weights")) == whole
    assert batches.made == 2


def test_batches_of_something_else_are_not_used(batches: Batches, tmp_path: Path) -> None:
    path = tmp_path / "stage.jsonl"
    for made_from, settings in (
        ("these weights", {}),
        ("other weights", {}),
        ("other weights", {"max_new_tokens": 4}),
        ("other weights", {"max_new_tokens": 4, "temperature": 1.0, "seed": 1}),
    ):
        whole = batches(None, **settings)
        with pytest.raises(Killed):
            batches(GenerationLog(path, made_from), 4, **settings)
        assert batches.made == 4, "all of them anew"
        assert batches(GenerationLog(path, made_from), **settings) == whole
        assert batches.made == 2
    wider = batches(GenerationLog(path, "other weights"), max_new_tokens=4, batch_size=3)
    assert batches.made == 4
    assert wider == batches(None, max_new_tokens=4, batch_size=3)


def test_a_disk_that_takes_no_more_is_one_sentence(batches: Batches, tmp_path: Path) -> None:
    whole, path = batches(None), tmp_path / "stage.jsonl"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))  # the kernel refuses what is behind
    try:
        with pytest.raises(Unavailable, match=r"stage\.jsonl cannot be written \(File too large\)"):
            batches(GenerationLog(path, "these weights"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert 0 < batches.made < 6
    made = batches.made
    assert batches(GenerationLog(path, "these weights")) == whole
    assert batches.made == 6 - made + 1, "all but the one that did not fit"
