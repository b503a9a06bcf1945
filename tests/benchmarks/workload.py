"""What the benchmarks share: real token ids in groups, timing in turns, and the least arithmetic of scoring."""

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from itertools import cycle, islice

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tests.benchmarks.methods import Ids


@dataclass(frozen=True)
class Workload:
    """Prompts and each one's group of responses, as token ids."""

    prompts: list[Ids]
    groups: list[list[Ids]]

    @property
    def tokens(self) -> int:
        """Response tokens of all groups."""
        return sum(len(r) for group in self.groups for r in group)


def make_workload(shape: str, tokenizer: PreTrainedTokenizerBase) -> Workload:
    """Groups of the shape PROMPTxRESPONSExGROUP in tokens, or of `ragged`: 4 groups of 8 of mixed lengths.

    The ids are consecutive pieces of the committed instructions with their reference answers; a prompt begins as the
    tokenizer begins a text.
    """
    if shape == "ragged":
        draw = random.Random(0)
        sizes = [(draw.randint(40, 400), [draw.randint(8, 300) for _ in range(8)]) for _ in range(4)]
    else:
        prompt, response, group = map(int, shape.split("x"))
        sizes = [(prompt, [response] * group)]
    folder = files("cme") / "data" / "instructions"
    text_ids = []
    for name in ("train.jsonl", "eval.jsonl"):
        for row in map(json.loads, (folder / name).read_text("utf-8").splitlines()):
            text = "".join(f"{row[key]}\n\n" for key in ("instruction", "reference") if row.get(key))
            text_ids += tokenizer(text, add_special_tokens=False).input_ids
    ids = cycle(text_ids)
    begin = [i for i in tokenizer("a").input_ids[:1] if i == tokenizer.bos_token_id]
    prompts = [[*begin, *islice(ids, length - len(begin))] for length, _ in sizes]
    return Workload(prompts, [[list(islice(ids, length)) for length in lengths] for _, lengths in sizes])


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


def count_flops(model: PreTrainedModel, work: Workload) -> float:
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
