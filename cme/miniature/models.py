"""The miniature checkpoints, which are trained on first use and cached. The same recipe gives the same weights.

Each family has four checkpoints:

- `pretrained`: trained on noisy text that rarely stops after an answer. Right answers are a minority and mostly come
  early in training, so that the model knows more than it shows.
- `sft`: `pretrained`, trained further on instruction pairs of mixed quality.
- `instruct`: `sft`, trained further on clean instruction pairs.
- `verifier`: a larger model, trained on clean instruction pairs only. In the paper, too, the verifier (4B parameters)
  knows more than every generator (0.3B-1B).

`build.json` in each folder has the recipe and the mean quality of sampled responses after training.
"""

import hashlib
import inspect
import itertools
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import torch
import transformers
from filelock import FileLock
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from cme.miniature import corpus, world
from cme.miniature.families import FAMILIES, make_model, train_tokenizer
from cme.models import chat
from cme.models.generation import generate

MAX_TOKENS = 96
Row = tuple[list[int], int]
"""Token ids, and the number of leading tokens without loss."""


@dataclass(frozen=True)
class Recipe:
    """How a checkpoint is trained.

    Attributes:
        start: the recipe that it continues; None to start from random weights.
        good_share: share of good responses at the first and the last step, linear in between.
        run_on: share of responses that continue with other text instead of ending.
    """

    start: str | None
    steps: int
    good_share: tuple[float, float]
    learning_rate: float
    run_on: float = 0.0
    width: int = 128
    layers: int = 3
    batch: int = 48
    seed: int = 0


RECIPES = {
    "pretrained": Recipe(None, 900, (0.75, 0.2), 2e-3, run_on=0.8),
    "sft": Recipe("pretrained", 200, (0.7, 0.7), 1e-3),
    "instruct": Recipe("sft", 300, (1.0, 1.0), 1e-3),
    "verifier": Recipe(None, 900, (1.0, 1.0), 2e-3, width=192, batch=64),
}


def checkpoint_names() -> list[str]:
    """Names of all miniature checkpoints, as `family/recipe`."""
    return [f"{family}/{recipe}" for family in FAMILIES for recipe in RECIPES]


@cache
def _corpus_sample() -> list[str]:
    """Text that covers the world, for training the tokenizers. It is part of the digest."""
    statements = itertools.islice(corpus.statements(0), 2000)
    rng = random.Random("pairs:0")
    pairs = [corpus.pair(rng, 0.5) for _ in range(4000)]
    roles = ["user\n", "assistant\n", "model\n"] * 500  # so that the roles in chat templates are few tokens
    texts = [f"### Instruction:\n{p.prompt}\n\n### Response:\n{p.response}" for p in pairs]
    return [*roles, *statements, *texts]


def recipe_digest(name: str) -> str:
    """8 hex digits over everything that determines a checkpoint: recipes, family, text, code, library versions."""
    family, recipe = name.split("/")
    parts = [repr(FAMILIES[family]), transformers.__version__, torch.__version__, *_corpus_sample()]
    parts += [phrasing for problem in world.problems() for phrasing in problem.phrasings]
    parts += [inspect.getsource(f) for f in (_rows, _batches, _train)]
    step: str | None = recipe
    while step:
        parts.append(json.dumps(asdict(RECIPES[step])))
        step = RECIPES[step].start
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def checkpoint_folder(name: str, root: Path) -> Path:
    """The folder of a checkpoint in the cache `root`, whether it exists or not.

    Raises ValueError for a name that is not one of `checkpoint_names()`.
    """
    if name not in checkpoint_names():
        raise ValueError(
            f"miniature checkpoint is {name!r}; it must be one of {', '.join(checkpoint_names())}"
        )
    return root / "miniature" / f"{name.replace('/', '-')}-{recipe_digest(name)}"


def build_missing(wanted: Sequence[str], root: Path) -> dict[str, Path]:
    """Build the named checkpoints that are missing in the cache `root`, and return the folders of all.

    Parallel processes build them with one thread each, because models this small gain little from a second thread. Two
    processes per core keep all cores busy until the last checkpoint.
    """
    missing: dict[str, list[str]] = {}
    for name in dict.fromkeys(wanted):
        if not checkpoint_folder(name, root).exists():
            lineage = "verifier" if name.endswith("/verifier") else "generator"
            missing.setdefault(f"{name.split('/')[0]}:{lineage}", []).append(name)
    if missing:
        total = sum(len(v) for v in missing.values())
        print(f"building {total} miniature checkpoint(s) in {root}; this happens once", file=sys.stderr)
        workers = min(len(missing), 2 * (os.cpu_count() or 1))
        slowest_first = sorted(missing.values(), key=lambda v: "verifier" not in v[0])
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for lines in pool.map(partial(_build_all, root=root), slowest_first):
                for line in lines:
                    print(line, file=sys.stderr)
    return {name: checkpoint_folder(name, root) for name in wanted}


def _build_all(wanted: list[str], root: Path) -> list[str]:
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    return [_build_locked(name, root) for name in wanted]


def _build_locked(name: str, root: Path) -> str:
    """Build a checkpoint, after the one it starts from, unless another process has built it. Returns a summary."""
    target = checkpoint_folder(name, root)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not target.exists():
            start = RECIPES[name.split("/")[1]].start
            if start:
                _build_locked(f"{name.split('/')[0]}/{start}", root)
            partial_folder = target.with_name(f"{target.name}.partial")
            shutil.rmtree(partial_folder, ignore_errors=True)
            _build(name, partial_folder, root)
            os.replace(partial_folder, target)
        built = json.loads((target / "build.json").read_text())
    return (
        f"{name}: sampled oracle quality {built['quality']:.3f}, {built['parameters']:,} parameters, "
        f"{built['seconds']:.0f} s"
    )


def _build(name: str, target: Path, root: Path) -> None:
    start_time = time.perf_counter()
    family_name, recipe_name = name.split("/")
    family, recipe = FAMILIES[family_name], RECIPES[recipe_name]
    torch.manual_seed(recipe.seed)
    model: PreTrainedModel
    if recipe.start:
        start = checkpoint_folder(f"{family_name}/{recipe.start}", root)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(start)
        model = family.model.from_pretrained(start, dtype=torch.float32)
    else:
        tokenizer = train_tokenizer(family, _corpus_sample())
        model = make_model(family, len(tokenizer), recipe.width, recipe.layers)
    tokenizer.chat_template = chat.PLAIN_TEMPLATE if recipe_name == "pretrained" else family.template
    model.generation_config.eos_token_id = chat.end_of_turn_id(tokenizer)
    _train(model, tokenizer, recipe, name)
    quality = sampled_quality(model, tokenizer, 288, seed=0)
    if recipe_name == "pretrained":
        tokenizer.chat_template = None  # as in real pretrained checkpoints
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    facts = {
        "name": name,
        "recipe": asdict(recipe),
        "parameters": model.num_parameters(),
        "quality": quality,
        "seconds": time.perf_counter() - start_time,
    }
    (target / "build.json").write_text(json.dumps(facts, indent=1))


def _rows(tokenizer: PreTrainedTokenizerBase, recipe: Recipe) -> Iterator[Row]:
    """Endless training rows."""
    end = chat.end_of_turn_id(tokenizer)
    told = corpus.statements(recipe.seed)
    asking = random.Random(f"pairs:{recipe.seed}")
    rng = random.Random(f"rows:{recipe.seed}")
    first, last = recipe.good_share
    heads: dict[str, list[int]] = {}
    for row in itertools.count():
        if recipe.start is None and last < 1 and rng.random() < 0.2:
            text = " ".join(next(told) for _ in range(rng.randint(2, 5)))
            yield chat.response_ids(tokenizer, text)[:MAX_TOKENS], 0
            continue
        share = first + (last - first) * min(1.0, row / (recipe.steps * recipe.batch))
        pair = corpus.pair(asking, share)
        if pair.prompt not in heads:
            heads[pair.prompt] = chat.prompt_ids(tokenizer, pair.prompt)
        head = heads[pair.prompt]
        if rng.random() < recipe.run_on:
            more = " ".join([pair.response, *itertools.islice(told, rng.randint(1, 3))])
            tail = chat.response_ids(tokenizer, more)
        else:
            tail = chat.response_ids(tokenizer, pair.response) + [end] * pair.ended
        yield (head + tail)[:MAX_TOKENS], len(head)


def _batches(rows: Iterator[Row], recipe: Recipe) -> Iterator[list[Row]]:
    """Endless batches of rows of like length: eight batches' rows are sorted, cut and shuffled at a time."""
    rng = random.Random(f"batches:{recipe.seed}")
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
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 0.05, 1.0, 20)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, recipe.steps - 20, 0.02 * recipe.learning_rate
    )
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warmup, cosine], [20])
    batches = _batches(_rows(tokenizer, recipe), recipe)
    model.train()
    for _ in (bar := tqdm(range(recipe.steps), desc=name, leave=False, mininterval=1)):
        batch = next(batches)
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
        bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    model.eval()


def sampled_quality(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, count: int, seed: int
) -> float:
    """Mean oracle quality of one sampled response (temperature 1) to each of `count` prompts of the train split."""
    prompts = world.sample_prompts("train", count, seed)
    torch.manual_seed(seed)
    end_ids = chat.configured_end_ids(model.generation_config)
    sampled = generate(
        model, tokenizer, prompts, max_new_tokens=16, batch_size=count, temperature=1.0, end_ids=end_ids
    )
    graded = [world.quality(p, g.response, bool(g.finished)) for p, g in zip(prompts, sampled, strict=True)]
    return sum(graded) / len(graded)
