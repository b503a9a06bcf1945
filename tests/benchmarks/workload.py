"""What the benchmarks share: models, real token ids in groups, timing in turns, and the least arithmetic of scoring."""

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from itertools import cycle

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from tests.benchmarks.methods import Ids

RANDOM: dict[str, dict[str, int]] = {
    "gemma3-4b": {
        "hidden_size": 2560,
        "num_hidden_layers": 34,
        "intermediate_size": 10240,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 262208,
        "sliding_window": 1024,
    },
    "gemma3-tiny": {
        "hidden_size": 64,
        "num_hidden_layers": 6,
        "intermediate_size": 128,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "vocab_size": 8192,
        "sliding_window": 16,
    },
}
"""Shapes of Gemma 3 text models that are built with random weights: a real one, and one for trying things out."""


@dataclass(frozen=True)
class Workload:
    """Prompts and each one's group of responses, as token ids."""

    name: str
    prompts: list[Ids]
    groups: list[list[Ids]]

    @property
    def tokens(self) -> int:
        """Response tokens of all groups."""
        return sum(len(r) for group in self.groups for r in group)

    @property
    def largest(self) -> tuple[int, int, int]:
        """Longest prompt, longest response and largest group."""
        responses = max(len(r) for group in self.groups for r in group)
        return max(map(len, self.prompts)), responses, max(map(len, self.groups))


def load(name: str, dtype: str, device: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model and its tokenizer by the names of `cme.checkpoints`, or `random:` and a key of `RANDOM`."""
    kind, _, rest = name.partition(":")
    if kind != "random":
        from cme import checkpoints

        checkpoint = checkpoints.load(name, dtype=dtype, device=device)
        return checkpoint.model.requires_grad_(False), checkpoint.tokenizer
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(
            Gemma3TextConfig(**RANDOM[rest]), dtype=getattr(torch, dtype)
        )
    return model.eval().requires_grad_(False), _word_tokenizer()


def _text() -> list[str]:
    """The committed instructions with their reference answers, one text each."""
    folder = files("cme") / "data" / "instructions"
    lines = [
        line for f in ("train.jsonl", "eval.jsonl") for line in (folder / f).read_text("utf-8").splitlines()
    ]
    rows = [json.loads(line) for line in lines]
    return [
        "".join(f"{row[key]}\n\n" for key in ("instruction", "reference") if row.get(key)) for row in rows
    ]


def _word_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer for models without one: each distinct word of the committed text is a token."""
    split = pre_tokenizers.Whitespace()
    words = dict.fromkeys(word for text in _text() for word, _ in split.pre_tokenize_str(text))
    vocabulary = {word: i for i, word in enumerate(["<unk>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = split
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<unk>", eos_token="<unk>"
    )


def workload(shape: str, tokenizer: PreTrainedTokenizerBase) -> Workload:
    """Groups of the shape PROMPTxRESPONSExGROUP in tokens, or of `ragged`: 4 groups of 8 of mixed lengths.

    The ids are consecutive pieces of the committed text; a prompt begins as the tokenizer begins a text.
    """
    if shape == "ragged":
        draw = random.Random(0)
        sizes = [(draw.randint(40, 400), [draw.randint(8, 300) for _ in range(8)]) for _ in range(4)]
    else:
        prompt, response, group = map(int, shape.split("x"))
        sizes = [(prompt, [response] * group)]
    begin = [i for i in tokenizer("a").input_ids[:1] if i == tokenizer.bos_token_id]
    ids = cycle([i for text in _text() for i in tokenizer(text, add_special_tokens=False).input_ids])
    prompts = [[*begin, *_take(ids, length - len(begin))] for length, _ in sizes]
    groups = [[_take(ids, length) for length in lengths] for _, lengths in sizes]
    return Workload(shape, prompts, groups)


def _take(ids: Iterator[int], count: int) -> Ids:
    return [next(ids) for _ in range(count)]


def time_in_turns(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each way in each round, after one round that is not timed. A slower machine slows all ways alike."""
    for act in ways.values():
        act()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, act in ways.items():
            began = time.perf_counter()
            act()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def flops(model: PreTrainedModel, work: Workload) -> float:
    """Operations that scoring needs at least, each prompt computed once: per group, on average.

    Two per active weight and token, two per value of the head's logits, four per attending pair of positions, layer
    and value of a head. Sliding windows and everything that is no product are ignored.
    """
    config = model.config.get_text_config()
    inputs, outputs = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    vocabulary, d = outputs.shape
    embeddings = {p.data_ptr(): p for p in (inputs, outputs)}
    weights = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in embeddings.values())
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    per_pair = 4 * config.num_hidden_layers * config.num_attention_heads * head_dim
    total = 0.0
    for prompt, responses in zip(work.prompts, work.groups, strict=True):
        p, lengths = len(prompt), [len(r) for r in responses]
        attended = p * (p + 1) / 2 + sum(r * p + r * (r + 1) / 2 for r in lengths)
        total += 2 * weights * (p + sum(lengths)) + 2 * d * vocabulary * sum(lengths) + per_pair * attended
    return total / len(work.prompts)
