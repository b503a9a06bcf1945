"""The checkpoints of scale=paper under their hub ids: tiny, taught a few answers, in the hub's files and dtype."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from tests.rehearsal.stand_ins import families
from tests.rehearsal.stand_ins.families import Recipe
from tests.rehearsal.stand_ins.hub_cache import HubCache
from tests.rehearsal.stand_ins.texts import question_answer_pairs

STEPS = 50  # after which a model ends some of its turns
FEW_STEPS = 4  # after which no two models score alike
ROWS = 8  # of a batch
ANSWER_TOKENS = 60


def recipes() -> dict[str, Recipe]:
    """Every checkpoint that a cell of scale=paper loads, by its hub id."""
    llama_31 = families.llama(instruct=True, template="llama3_1", rope_factor=8.0)
    return {
        "Qwen/Qwen2.5-0.5B": families.qwen(instruct=False),
        "Qwen/Qwen2.5-0.5B-Instruct": families.qwen(instruct=True),
        "Qwen/Qwen2.5-1.5B-Instruct": families.qwen(instruct=True),
        "Qwen/Qwen2.5-Math-1.5B": families.qwen(instruct=False, math=True),
        "Qwen/Qwen2.5-Math-7B-Instruct": families.qwen(instruct=True, math=True),
        "meta-llama/Llama-3.2-1B": families.llama(instruct=False),
        "meta-llama/Llama-3.2-1B-Instruct": families.llama(instruct=True),
        "meta-llama/Llama-3.1-8B-Instruct": llama_31,
        "google/gemma-3-1b-pt": families.gemma3(instruct=False),
        "google/gemma-3-1b-it": families.gemma3(instruct=True),
        "google/gemma-3-270m-it": families.gemma3(instruct=True, hidden_size=48),
        "google/gemma-4-E4B-it": families.gemma4(),
        "allenai/OLMo-2-0425-1B": families.olmo(template=False),
        "allenai/OLMo-2-0425-1B-SFT": families.olmo(template=True),
        "allenai/OLMo-2-0425-1B-DPO": families.olmo(template=True),
        "allenai/OLMo-2-0425-1B-Instruct": families.olmo(template=True),
    }


def build(cache: HubCache, steps: int = STEPS) -> None:
    """Build all checkpoints; different ones of a recipe differ in their weights."""
    torch.set_num_threads(1)
    for seed, (name, recipe) in enumerate(recipes().items(), start=1):
        _build_one(cache.new_snapshot(name), recipe, seed, steps)


def _build_one(folder: Path, recipe: Recipe, seed: int, steps: int) -> None:
    write_tokenizer(recipe, folder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(recipe.model)
    _teach(model, *_lessons(folder, recipe), seed, steps)
    model = model.eval().to(torch.bfloat16)  # the hub's dtype
    model.generation_config = GenerationConfig()
    model.save_pretrained(folder)
    fields = {"_from_model_config": False, **recipe.generation, "transformers_version": "4.51.0"}
    write_json(folder / "generation_config.json", fields)


def write_tokenizer(recipe: Recipe, folder: Path) -> None:
    """The files of a tokenizer as the hub has them."""
    recipe.tokenizer.save(str(folder / "tokenizer.json"))
    saved = json.loads(recipe.tokenizer.to_str())
    keys = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
    added = {str(token["id"]): {key: token[key] for key in keys} for token in saved["added_tokens"]}
    config = recipe.tokenizer_config
    fields = {"added_tokens_decoder": added, **config}
    if recipe.template_file:
        (folder / "chat_template.jinja").write_text(str(recipe.template))
    elif recipe.template is not None:
        fields["chat_template"] = recipe.template
    write_json(folder / "tokenizer_config.json", fields)
    names = ("bos_token", "eos_token", "pad_token", "unk_token")
    write_json(folder / "special_tokens_map.json", {n: config[n] for n in names if config.get(n)})
    if recipe.gpt2_files:
        write_json(folder / "vocab.json", saved["model"]["vocab"])
        merges = [m if isinstance(m, str) else " ".join(m) for m in saved["model"]["merges"]]
        (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """A JSON file in the hub's style."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False))


def _lessons(folder: Path, recipe: Recipe) -> tuple[list[list[int]], list[int]]:
    """Token ids of prompts with answers and an end, and the lengths of the prompts.

    A checkpoint with a template answers in it, one without in the plain format of instruction and response.
    """
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    end = tokenizer.convert_tokens_to_ids(recipe.end)
    rows, prompt_lengths = [], []
    for question, answer in question_answer_pairs():
        answer = answer[: random.Random(question).choice([20, 40, 80, 400])]
        if recipe.template is None:
            prompt = tokenizer(f"### Instruction:\n{question}\n\n### Response:\n")["input_ids"]
        else:
            text = tokenizer.apply_chat_template(
                [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
            )
            prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
        taught = tokenizer(answer, add_special_tokens=False)["input_ids"][:ANSWER_TOKENS]
        rows.append([*prompt, *taught, end])
        prompt_lengths.append(len(prompt))
    return rows, prompt_lengths


def _teach(
    model: PreTrainedModel, rows: list[list[int]], prompt_lengths: list[int], seed: int, steps: int
) -> None:
    """A few steps of training on the answers."""
    rng = random.Random(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(steps):
        chosen = rng.sample(range(len(rows)), ROWS)
        width = max(len(rows[i]) for i in chosen)
        ids = torch.zeros(ROWS, width, dtype=torch.long)
        labels = torch.full((ROWS, width), -100)
        mask = torch.zeros(ROWS, width, dtype=torch.long)
        for line, i in enumerate(chosen):
            row, prompt = torch.tensor(rows[i]), prompt_lengths[i]
            ids[line, : len(row)], mask[line, : len(row)] = row, 1
            labels[line, prompt : len(row)] = row[prompt:]
        multimodal: dict[str, Any] = {}
        if model.config.model_type == "gemma4":  # it trains only with the kinds of its tokens: all text
            multimodal = {name: torch.zeros_like(ids) for name in ("token_type_ids", "mm_token_type_ids")}
        model(input_ids=ids, attention_mask=mask, labels=labels, **multimodal).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
