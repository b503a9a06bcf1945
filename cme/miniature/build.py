"""Training of the miniature checkpoints."""

import itertools
import json
import os
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import active_children, get_context

import torch
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from cme.miniature import corpus, models, vocabulary, world
from cme.miniature.families import FAMILIES, make_model, train_tokenizer
from cme.miniature.models import RECIPES, Recipe, recipe_of
from cme.miniature.problems import FAULTS
from cme.models import chat
from cme.models.generation import generate
from cme.records import read_json
from cme.runtime.signals import end_with_parent

MAX_TOKENS = 112
MAX_NEW_TOKENS = 32
MEASURED_PROMPTS = 84
WARMUP_STEPS = 20
Row = tuple[list[int], int]
"""Token ids, and the number of leading tokens without loss."""


def build_all(names: Sequence[str], again: bool = False) -> Iterator[str]:
    """Build checkpoints, each after the one that it starts from; yield a summary of each.

    Checkpoints that were built by today's recipes are left as they are unless `again`. One process per core builds
    with one thread, because models this small gain little from a second thread.
    """
    wanted = set(names)
    for name in names:
        family, build, recipe = models.split_name(name)
        while (start := RECIPES[recipe].start) is not None:
            recipe = start
            wanted.add(f"{family}-{build}/{recipe}")
    lines: dict[str, list[str]] = {}
    for name in (name for name in models.checkpoint_names() if name in wanted):
        built = models.checkpoint_folder(name) / "build.json"
        current = built.exists() and read_json(built)["digest"] == models.recipe_digest(name)
        if again or not current:
            lineage = "verifier" if "verifier" in name else "generator"
            lines.setdefault(f"{name.partition('/')[0]} {lineage}", []).append(name)
    context = get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context, initializer=end_with_parent) as pool:
        try:
            for summaries in pool.map(_build_lineage, lines.values()):
                yield from summaries
        except (
            BaseException
        ):  # also a signal: the pool would wait until the workers have built their checkpoints
            for worker in active_children():
                worker.kill()
            raise


def _build_lineage(names: list[str]) -> list[str]:
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    return [build(name) for name in names]


def build(name: str) -> str:
    """Build a checkpoint from the one that it starts from, which must be there; return a summary."""
    begun = time.perf_counter()
    family_name, number, last = models.split_name(name)
    family, recipe = FAMILIES[family_name], recipe_of(family_name, last)
    torch.manual_seed(number)
    model: PreTrainedModel
    if recipe.start:
        start = models.checkpoint_folder(f"{family_name}-{number}/{recipe.start}")
        tokenizer = PreTrainedTokenizerFast.from_pretrained(start)
        model = family.model.from_pretrained(start, dtype=torch.float32)
    else:
        tokenizer = train_tokenizer(family, models.tokenizer_texts())
        model = make_model(family, len(tokenizer), recipe.width, recipe.layers)
    tokenizer.chat_template = chat.PLAIN_TEMPLATE if last == "pretrained" else family.template
    model.generation_config.eos_token_id = chat.end_of_turn_id(tokenizer)
    _train(model, tokenizer, recipe, name)
    model = model.half().float()  # the weights as they are saved
    facts = {
        "name": name,
        "digest": models.recipe_digest(name),
        "recipe": asdict(recipe),
        "parameters": model.num_parameters(),
        "seconds": round(time.perf_counter() - begun),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "greedy": measure(model, tokenizer, family_name, None),
        "sampled": measure(model, tokenizer, family_name, 1.0),
    }
    if last == "pretrained":
        tokenizer.chat_template = None  # as in real pretrained checkpoints
    _save(name, model, tokenizer, facts)
    return f"{name}: greedy quality {facts['greedy']['quality']:.3f}, {facts['seconds']} s"


def _save(
    name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, facts: dict[str, object]
) -> None:
    target = models.checkpoint_folder(name)
    partial_folder = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial_folder, ignore_errors=True)
    model.half().save_pretrained(partial_folder)
    tokenizer.save_pretrained(partial_folder)
    facts = facts | {"sha256": models.file_digest(partial_folder / models.WEIGHTS_FILE)}
    (partial_folder / "build.json").write_text(json.dumps(facts, indent=1) + "\n")
    shutil.rmtree(target, ignore_errors=True)
    os.replace(partial_folder, target)


def _rows(tokenizer: PreTrainedTokenizerBase, recipe: Recipe, name: str) -> Iterator[Row]:
    """Endless training rows."""
    family, build, last = models.split_name(name)
    end = chat.end_of_turn_id(tokenizer)
    pairs = models.instruction_pairs(name, recipe)
    plain = corpus.statements(models.beliefs(family, recipe), f"{build}:{last}:rows")
    rng = random.Random(f"rows:{build}:{last}")
    heads: dict[str, list[int]] = {}
    while True:
        if rng.random() < recipe.statements:
            text = " ".join(itertools.islice(plain, rng.randint(2, 5)))
            yield chat.response_ids(tokenizer, text)[:MAX_TOKENS], 0
            continue
        pair = next(pairs)
        if pair.prompt not in heads:
            heads[pair.prompt] = chat.prompt_ids(tokenizer, pair.prompt)
        head = heads[pair.prompt]
        tail = chat.response_ids(tokenizer, pair.response) + [end] * pair.ended
        yield (head + tail)[:MAX_TOKENS], len(head)


def _batches(rows: Iterator[Row], recipe: Recipe) -> Iterator[list[Row]]:
    """Endless batches of rows of like length: eight batches' rows are sorted, cut and shuffled at a time."""
    rng = random.Random("batches")
    while True:
        pool = sorted(itertools.islice(rows, 8 * recipe.batch), key=lambda row: len(row[0]))
        cut = [pool[i : i + recipe.batch] for i in range(0, len(pool), recipe.batch)]
        rng.shuffle(cut)
        yield from cut


def _train(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, recipe: Recipe, name: str) -> None:
    """AdamW with a short warm-up and a cosine to zero; loss on responses only, in float32."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=0.01, betas=(0.9, 0.98), fused=True
    )
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 0.05, 1.0, WARMUP_STEPS)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, recipe.steps - WARMUP_STEPS, 0.02 * recipe.learning_rate
    )
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warmup, cosine], [WARMUP_STEPS])
    model.train()
    for batch in itertools.islice(_batches(_rows(tokenizer, recipe, name), recipe), recipe.steps):
        ids = torch.zeros(recipe.batch, max(len(r) for r, _ in batch), dtype=torch.long)  # (B, T), pad is 0
        labels = torch.full_like(ids, -100)  # (B, T); column t is what column t - 1 predicts
        for i, (row, masked) in enumerate(batch):
            ids[i, : len(row)] = torch.tensor(row)
            labels[i, masked : len(row)] = ids[i, masked : len(row)]
        hidden = model.get_decoder()(input_ids=ids, attention_mask=(ids != 0).long()).last_hidden_state
        wanted = labels[:, 1:] != -100
        logits = model.get_output_embeddings()(hidden[:, :-1][wanted])  # the head where there is a loss
        loss: torch.Tensor = torch.nn.functional.cross_entropy(logits, labels[:, 1:][wanted])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()


def measure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, family: str, temperature: float | None
) -> dict[str, object]:
    """True quality of responses to prompts of the tuning split, greedy if `temperature` is None.

    Returns `quality` (mean, 0-1); `clear`, the same over prompts without a blind spot of the family; `blind`, the share
    of the family's blind-spot facts that are right; `finished`, the share of responses that end by themselves; `length`
    (mean, tokens); and the share of each fault.
    """
    prompts = world.sample_prompts("tune", MEASURED_PROMPTS, 0)
    torch.manual_seed(0)
    responses = generate(
        model,
        tokenizer,
        prompts,
        max_new_tokens=MAX_NEW_TOKENS,
        batch_size=len(prompts),
        temperature=temperature or 0.0,
        end_ids=[chat.end_of_turn_id(tokenizer)],
    )
    grades = [world.grade(p, r.response, bool(r.finished)) for p, r in zip(prompts, responses, strict=True)]
    blind_spots = vocabulary.blind_spots(family)
    blind = [right for g in grades for part, right in g.parts.items() if part in blind_spots]
    clear = [g.quality for g in grades if not blind_spots & set(g.parts)]
    return {
        "quality": _mean([g.quality for g in grades]),
        "clear": _mean(clear),
        "blind": _mean(blind),
        "finished": _mean([bool(r.finished) for r in responses]),
        "length": _mean([r.tokens for r in responses if r.tokens is not None]),
        "faults": {fault: _mean([g.fault == fault for g in grades]) for fault in ("none", *FAULTS)},
    }


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 4)
