"""Fine-tune the checkpoints `tuned:NAME` into the cache: `python -m cme.training.fine_tune [NAME ...]`.

The same seed, machine and number of threads give the same weights.
"""

import argparse
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

from cme.checkpoints import Checkpoint, load
from cme.models import chat, fine_tuned
from cme.models.fine_tuned import Recipe
from cme.models.packages import PACKAGES
from cme.runtime import space
from cme.runtime.command_line import exit_code
from cme.runtime.files import hold_lock, sha256

Row = tuple[list[int], int]
"""Token ids, and the number of those in front that belong to the prompt."""


def main() -> int:
    """Build the named checkpoints, by default all, unless they are built; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cme.training.fine_tune", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"by default {' '.join(fine_tuned.RECIPES)}")
    options = parser.parse_args()

    def work() -> int:
        for name in options.names or fine_tuned.RECIPES:
            build(name)
        return 0

    return exit_code(work)


def build(name: str) -> None:
    """Fine-tune a checkpoint unless that is done. Raises ValueError for an unknown name, and as `load` does.

    Raises Unavailable for too little memory or disk space.
    """
    target, recipe = fine_tuned.folder(name), fine_tuned.recipe(name)
    with hold_lock(target.with_name(f"{target.name}.lock")):
        if target.exists():
            return
        parameters = PACKAGES[recipe.package].parameters
        purpose = f"the fine-tuning of tuned:{name}"
        space.check_memory(
            16 * parameters + 2e9, purpose, "end other programs"
        )  # AdamW in float32, activations
        space.check_disk(
            target.parent, 4 * parameters, purpose, "free some, or set $CME_CACHE to another folder"
        )
        print(
            f"fine-tuning tuned:{name} into {target}, once: about {recipe.minutes} min on two cores",
            file=sys.stderr,
        )
        begun = time.perf_counter()
        checkpoint = load(f"package:{recipe.package}")
        losses = _train(checkpoint, recipe, fine_tuned.pairs(name))
        partial = target.with_name(f"{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        checkpoint.model.save_pretrained(partial)
        checkpoint.tokenizer.save_pretrained(partial)
        facts = {
            "name": name,
            "recipe": asdict(recipe),
            "loss": losses,
            "sha256": sha256(partial / "model.safetensors"),
            "seconds": round(time.perf_counter() - begun),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        (partial / "build.json").write_text(json.dumps(facts, indent=1) + "\n")
        os.replace(partial, target)


def _train(checkpoint: Checkpoint, recipe: Recipe, pairs: list[tuple[str, str]]) -> list[float]:
    """Train the model in place. Returns the mean loss of each epoch, in nats per token of an answer."""
    model, tokenizer = checkpoint.model, checkpoint.tokenizer
    end = chat.end_of_turn_id(tokenizer)
    rows: list[Row] = []
    for prompt, answer in pairs:
        head = chat.prompt_ids(tokenizer, prompt)
        rows.append(([*head, *chat.response_ids(tokenizer, answer), end], len(head)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.0)
    steps = recipe.epochs * -(-len(rows) // recipe.batch)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    losses = []
    with tqdm(total=steps, desc="fine-tuning", unit="step") as progress:
        for epoch in range(recipe.epochs):
            total, tokens = 0.0, 0
            for batch in _batches(rows, recipe, epoch):
                logits, labels = _answer_logits(checkpoint, batch)
                loss = cross_entropy(logits, labels)
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                total, tokens = total + loss.item() * len(labels), tokens + len(labels)
                progress.update()
                progress.set_postfix(loss=f"{loss.item():.2f}")
            losses.append(total / tokens)
    return losses


def _batches(rows: list[Row], recipe: Recipe, epoch: int) -> Iterator[list[Row]]:
    """All rows once, in batches of rows of like length, which are shuffled."""
    rng = random.Random(f"{recipe.seed}:{epoch}")
    shuffled = sorted(rng.sample(rows, len(rows)), key=lambda row: len(row[0]))
    batches = [shuffled[i : i + recipe.batch] for i in range(0, len(rows), recipe.batch)]
    rng.shuffle(batches)
    yield from batches


def _answer_logits(checkpoint: Checkpoint, batch: list[Row]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, V) of the N answer tokens in a batch of rows, and their ids (N,)."""
    width = max(len(ids) for ids, _ in batch)
    ids = torch.full((len(batch), width), checkpoint.tokenizer.pad_token_id)  # (B, T), padded on the right
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for i, (row, head) in enumerate(batch):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
        labels[i, head : len(row)] = ids[i, head : len(row)]
    hidden = checkpoint.model.get_decoder()(input_ids=ids, attention_mask=mask).last_hidden_state
    wanted = labels[:, 1:] != -100
    # the head only where there is a loss: the vocabulary has 262,144 tokens
    logits: torch.Tensor = checkpoint.model.get_output_embeddings()(hidden[:, :-1][wanted])
    return logits.float(), labels[:, 1:][wanted]


if __name__ == "__main__":
    sys.exit(main())
