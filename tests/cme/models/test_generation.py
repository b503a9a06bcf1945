"""Batched generation against a loop that runs one prompt, without cache or padding; continuing after interruptions."""

import random
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import CONFIGS, greedy, random_model
from scipy import stats
from scripted import forced, logits_of, published_copy
from transformers import GenerationConfig

from cme import Unavailable
from cme.checkpoints import Checkpoint, load, stop_ids
from cme.miniature import world
from cme.models import chat, generation
from cme.models.generation import decoding_fields, generate, generate_ids, sample
from cme.models.generation_log import GenerationLog
from cme.records import Generation

Tiny = Callable[..., Checkpoint]
PROMPTS = [
    "what is 3 plus 4?",
    "tell the color and home of the horse.",
    "say lamp frog meat backwards.",
    "name two animals but not fox.",
    "describe the mouse by its color and size. " * 8,  # longer than Gemma's sliding window
]
NEW = 10
LOGGED_PROMPTS = [p.text for p in world.load_prompts("eval", 11, 0)]


@torch.no_grad()
def naive(checkpoint: Checkpoint, prompt: str) -> list[int]:
    """NEW greedy tokens, whatever they are."""
    ids = chat.prompt_ids(checkpoint.tokenizer, prompt)
    own: list[int] = []
    for _ in range(NEW):
        own.append(int(checkpoint.model(input_ids=torch.tensor([ids + own])).logits[0, -1].argmax()))
    return own


def run(checkpoint: Checkpoint, prompts: list[str] = PROMPTS, **settings: Any) -> list[Generation]:
    given: dict[str, Any] = {"max_new_tokens": NEW, "batch_size": 5} | settings
    return generate(checkpoint.model, checkpoint.tokenizer, prompts, **given)


def test_batched_generation_equals_one_prompt_at_a_time(tiny: Tiny, family: str) -> None:
    checkpoint = tiny(family)
    runs = [naive(checkpoint, p) for p in PROMPTS]
    assert len({tuple(r) for r in runs}) > 1, "the prompts must lead to different responses"
    end = runs[0][3]  # a random model never ends its turn: a token that it does generate stands for the end
    kept = [r[: r.index(end) + 1] if end in r else r for r in runs]
    texts = [checkpoint.tokenizer.decode([i for i in r if i != end], skip_special_tokens=True) for r in kept]
    for batch_size in (1, 3, 5):
        settings: dict[str, Any] = {"max_new_tokens": NEW, "batch_size": batch_size, "end_ids": [end]}
        assert generate_ids(checkpoint.model, checkpoint.tokenizer, PROMPTS, **settings) == kept
        found = run(checkpoint, **settings)
        assert found == [Generation(t, r[-1] == end, len(r)) for t, r in zip(texts, kept, strict=True)]
        assert found[0].finished and found[0].tokens <= 4


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "rwkv"])
def test_a_response_does_not_depend_on_the_other_rows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts on both sides of the length at which Phi-3 switches its factors, and responses that pass it."""
    model, rng = random_model(name), random.Random(0)
    prompts = [[rng.randrange(3, 40) for _ in range(n)] for n in (1, 4, 9, 9, 12, 13, 18)]
    decoding = GenerationConfig(**decoding_fields(0.0, 6, [40]), pad_token_id=0)
    alone = [greedy(model, p, 6) for p in prompts]
    assert generation._generate_batch(model, prompts, decoding) == alone
    monkeypatch.setattr(generation, "can_repeat_prompts", lambda _: False)  # the loop of transformers
    assert generation._generate_batch(model, prompts, decoding) == alone


def test_a_model_with_a_state_of_its_own_repeats_no_prompts() -> None:
    """RWKV takes no keys and values, so that nothing would be left of a prompt that `sample` computes once."""
    model = random_model("rwkv")
    decoding = GenerationConfig(**decoding_fields(0.0, 6, [40]), pad_token_id=0)
    for prompt in ([5], [7, 8, 9, 10]):
        assert generation._generate_batch(model, [prompt], decoding) == [greedy(model, prompt, 6)]


def test_draws_belong_to_their_rows_where_the_batch_is_split() -> None:
    """Phi-3: equal prompts on either side of the switch, and in another order, sample by their own draws."""
    model, rng = random_model("phi3"), random.Random(0)
    prompts = [[rng.randrange(3, 40) for _ in range(n)] for n in (9, 13, 9, 4, 13)]
    torch.manual_seed(0)
    found = sample(model, prompts, [40], max_new_tokens=6, temperature=1.0)
    torch.manual_seed(0)
    draws = torch.rand(6, len(prompts))
    for i, prompt in enumerate(prompts):
        row = list(prompt)
        for step in range(6):
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([row]), use_cache=False).logits[0, -1]
            row.append(int((logits.softmax(0).cumsum(0) <= draws[step, i]).sum()))
        assert found[i] == row[len(prompt) :]


def test_a_response_may_use_all_its_tokens_or_end_at_once(tiny: Tiny) -> None:
    checkpoint = tiny("llama")
    [found] = run(checkpoint, PROMPTS[:1])
    assert (found.finished, found.tokens) == (False, NEW)
    first = naive(checkpoint, PROMPTS[0])[0]
    assert run(checkpoint, PROMPTS[:1], end_ids=[first]) == [Generation("", True, 1)]


@pytest.mark.parametrize(
    ("rule", "ending", "expected"),
    [
        ("both", "<|endoftext|>", ("ab", True, 3)),
        ("both", "<|im_end|>", ("ab", True, 3)),
        ("checkpoint", "<|endoftext|>", ("ab", True, 3)),
        ("checkpoint", "<|im_end|>", ("abcab", False, 6)),
        ("template", "<|endoftext|>", ("abcab", False, 6)),
        ("template", "<|im_end|>", ("ab", True, 3)),
    ],
)
def test_a_response_ends_at_every_end_token_of_its_rule(
    tiny_folder: Callable[..., Path], rule: chat.StopRule, ending: str, expected: tuple[str, bool, int]
) -> None:
    """A base model whose generation config ends at `<|endoftext|>`, and its template at `<|im_end|>`."""
    folder = str(tiny_folder("qwen"))
    checkpoint = load(folder)
    script = checkpoint.tokenizer.convert_tokens_to_ids(["a", "b", ending, "c", "a", "b"])
    ends = {"end_ids": stop_ids(folder, rule)} if rule != "both" else {}
    with forced(checkpoint.model, logits_of(script, checkpoint.model)):
        [found] = run(checkpoint, PROMPTS[:1], max_new_tokens=6, batch_size=1, **ends)
    assert (found.response, found.finished, found.tokens) == expected


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_no_field_of_the_hubs_generation_config_changes_a_response(
    tiny_folder: Callable[..., Path], tmp_path: Path, temperature: float
) -> None:
    first, second = (
        load(str(tiny_folder("qwen"))),
        load(published_copy(tiny_folder("qwen"), tmp_path / "copy")),
    )
    assert first.model.generation_config == second.model.generation_config
    assert first.end_ids == second.end_ids == (1, 2)
    sampling = {"temperature": temperature, "seed": 0} if temperature else {}
    assert run(first, max_new_tokens=24, **sampling) == run(second, max_new_tokens=24, **sampling)


def test_sampling_follows_torchs_generator_or_its_own_seed(tiny: Tiny) -> None:
    checkpoint = tiny("olmo")

    def draw(state: int, seed: int | None) -> tuple[list[Generation], list[float]]:
        torch.manual_seed(state)
        found = run(checkpoint, max_new_tokens=6, batch_size=2, temperature=1.0, seed=seed)
        return found, torch.rand(3).tolist()

    assert draw(0, None) == draw(0, None)
    assert draw(0, None)[0] != draw(1, None)[0]
    torch.manual_seed(1)
    untouched = torch.rand(3).tolist()
    (first, after), (again, _), (other, _) = draw(1, 0), draw(2, 0), draw(1, 1)
    assert first == again != other
    assert after == untouched, "a seed leaves torch's generator as it was"


def test_sampled_tokens_equal_those_of_transformers_for_the_same_draws(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight responses to each prompt, most of which end before the last."""
    checkpoint = tiny("gemma")
    prompts = [ids for p in PROMPTS for ids in [chat.prompt_ids(checkpoint.tokenizer, p)] * 8]
    ends = list(range(40, 60))
    torch.manual_seed(0)
    found = sample(checkpoint.model, prompts, ends, max_new_tokens=40, temperature=0.7)
    torch.manual_seed(0)
    draws = iter(torch.rand(40, len(prompts)))

    def multinomial(probabilities: torch.Tensor, num_samples: int) -> torch.Tensor:
        below = probabilities.double().cumsum(1) <= next(draws)[:, None]
        return below.sum(1, keepdim=True)

    monkeypatch.setattr(torch, "multinomial", multinomial)
    ids, mask = generation.pad(prompts, checkpoint.model.device, left=True)
    fields = decoding_fields(0.7, 40, ends)
    decoding = GenerationConfig(**fields, pad_token_id=checkpoint.tokenizer.pad_token_id)
    output = checkpoint.model.generate(input_ids=ids, attention_mask=mask, generation_config=decoding)
    for response, row in zip(found, output[:, ids.shape[1] :].tolist(), strict=True):
        length = next((t for t, token in enumerate(row, 1) if token in ends), 40)
        assert response == row[:length]
    assert len({len(response) for response in found}) > 10


def test_sampled_tokens_have_the_models_probabilities(tiny: Tiny) -> None:
    checkpoint = tiny("qwen")
    prompt = chat.prompt_ids(checkpoint.tokenizer, PROMPTS[0])
    with torch.no_grad():
        logits = checkpoint.model(input_ids=torch.tensor([prompt])).logits[0, -1]
    expected = (logits / 0.5).softmax(0)
    torch.manual_seed(0)
    found = sample(checkpoint.model, [prompt] * 20_000, [], max_new_tokens=1, temperature=0.5)
    counts = torch.bincount(torch.tensor(found)[:, 0], minlength=len(expected))
    likely = expected > 5 / 20_000
    observed = [*counts[likely].tolist(), int(counts[~likely].sum())]
    shares = [*expected[likely].tolist(), float(expected[~likely].sum())]
    assert stats.chisquare(observed, [20_000 * s / sum(shares) for s in shares]).pvalue > 1e-3


class Killed(Exception):
    pass


class Batches:
    """Generation in batches that are counted; the process is killed before the batch that exceeds the limit."""

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
        return generate_ids(
            self.checkpoint.model, self.checkpoint.tokenizer, LOGGED_PROMPTS, log=log, **given
        )


@pytest.fixture
def batches(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> Batches:
    return Batches(tiny("qwen"), monkeypatch)


@pytest.mark.parametrize("settings", [{}, {"temperature": 1.0, "seed": 3}, {"temperature": 1.0}])
def test_generation_continues_after_interruptions(
    batches: Batches, tmp_path: Path, settings: dict[str, Any]
) -> None:
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
    ("damage", "again"),
    [
        (lambda text: text[:-20], 1),  # torn
        (lambda text: text + '{"rows": [1', 0),
        (lambda text: text.replace('"ids"', '"odd"'), 3),
        (lambda text: text.replace('"seconds": ', '"seconds": "a", "_": '), 3),
        (lambda text: text.replace('"rows": [', '"rows": ["a", '), 3),
        (lambda text: "[]\n" + text, 3),
        (lambda text: "", 3),
        (lambda text: "\x00" * 40, 3),  # as a machine that lost power may leave it
    ],
)
def test_damaged_batches_are_generated_again(
    batches: Batches, tmp_path: Path, damage: Callable[[str], str], again: int
) -> None:
    whole, path = batches(None), tmp_path / "stage.jsonl"
    with pytest.raises(Killed):
        batches(GenerationLog(path, "these weights"), 3)
    path.write_text(damage(path.read_text()))
    with pytest.raises(Killed):
        batches(GenerationLog(path, "these weights"), again + 1)
    assert batches(GenerationLog(path, "these weights")) == whole
    assert batches.made == 2


def test_batches_of_other_inputs_or_requests_are_not_reused(batches: Batches, tmp_path: Path) -> None:
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
        assert batches.made == 4, "none is reused"
        assert batches(GenerationLog(path, made_from), **settings) == whole
        assert batches.made == 2
    wider = batches(GenerationLog(path, "other weights"), max_new_tokens=4, batch_size=3)
    assert batches.made == 4
    assert wider == batches(None, max_new_tokens=4, batch_size=3)


def test_a_full_disk_is_reported_in_one_sentence(batches: Batches, tmp_path: Path) -> None:
    whole, path = batches(None), tmp_path / "stage.jsonl"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))  # the kernel refuses larger files
    try:
        with pytest.raises(Unavailable, match=r"stage\.jsonl cannot be written \(File too large\)"):
            batches(GenerationLog(path, "these weights"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    made = batches.made
    assert 0 < made < 6
    assert batches(GenerationLog(path, "these weights")) == whole
    assert batches.made == 6 - made + 1, "all but the one that did not fit"
