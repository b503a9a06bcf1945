"""The items of lm-eval's tasks: the hub's files, and what the library `datasets` has prepared from them.

lm-eval reads by `datasets`, which offline knows only the data sets that it has prepared, not the hub's cache.
"""

import json
import random
import shutil
from pathlib import Path

from datasets import load_dataset_builder
from datasets.naming import camelcase_to_snakecase

from tests.rehearsal.stand_ins.data_sets import Row, write_jsonl, write_parquet, write_readme
from tests.rehearsal.stand_ins.hub_cache import HubCache, revision
from tests.rehearsal.stand_ins.texts import instructions


def build(cache: HubCache) -> None:
    """Build the items of gsm8k, hendrycks_math500 and ifeval; needs the data sets of the prompts."""
    _gsm8k(cache.new_snapshot("openai/gsm8k", "datasets"))
    _ifeval(cache.new_snapshot("google/IFEval", "datasets"))
    _sentence_tokenizer(cache.nltk_data / "tokenizers" / "punkt_tab" / "english")
    splits = {"train": "main/train-*", "test": "main/test-*"}
    _prepare(cache, "openai/gsm8k", "main", "parquet", splits)
    _prepare(cache, "HuggingFaceH4/MATH-500", "default", "json", {"test": "test.jsonl"})
    _prepare(cache, "google/IFEval", "default", "json", {"train": "ifeval_input_data.jsonl"})


def _gsm8k(folder: Path) -> None:
    rng = random.Random(0)

    def row() -> Row:
        a, b = rng.randint(2, 90), rng.randint(2, 90)
        return {
            "question": f"Ann has {a} pens and buys {b}. How many has she?",
            "answer": f"She has {a}+{b}=<<{a}+{b}={a + b}>>{a + b}.\n#### {a + b}",
        }

    main = {"train": "main/train-*", "test": "main/test-*"}
    write_readme(folder, "GSM8K", {"main": main, "socratic": {"train": "socratic/train-*"}})
    for name, count in {"main/train": 100, "main/test": 60, "socratic/train": 10}.items():
        write_parquet(folder / f"{name}-00000-of-00001.parquet", [row() for _ in range(count)])


def _ifeval(folder: Path) -> None:
    write_readme(folder, "IFEval", {"default": {"train": "ifeval_input_data.jsonl"}})
    rows = [
        {
            "key": n,
            "prompt": f"{question} Write at least two sentences, and no commas.",
            "instruction_id_list": ["length_constraints:number_sentences", "punctuation:no_comma"],
            "kwargs": [{"relation": "at least", "num_sentences": 2}, {}],
        }
        for n, question in enumerate(instructions()[:20])
    ]
    write_jsonl(folder / "ifeval_input_data.jsonl", rows)


def _sentence_tokenizer(folder: Path) -> None:
    """NLTK's punkt_tab with empty tables: it knows no abbreviations."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("collocations.tab", "sent_starters.txt", "abbrev_types.txt", "ortho_context.tab"):
        (folder / name).touch()


def _prepare(cache: HubCache, name: str, config: str, file_format: str, splits: dict[str, str]) -> None:
    """Prepare a data set from local files, and put the result where `datasets` looks for the hub's."""
    snapshot = cache.snapshot(name, "datasets")
    files = {split: str(snapshot / pattern) for split, pattern in splits.items()}
    builder = load_dataset_builder(file_format, data_files=files, cache_dir=str(cache.home / "scratch"))
    builder.download_and_prepare()
    prepared = Path(builder.cache_dir)
    owner, base = name.split("/")
    snake = camelcase_to_snakecase(base)
    target = cache.prepared_data_sets / f"{owner}___{snake}" / config / "0.0.0" / revision(name)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for file in prepared.glob("*.arrow"):
        shutil.copy(file, target / file.name.replace(f"{file_format}-", f"{snake}-", 1))
    info = json.loads((prepared / "dataset_info.json").read_text())
    info |= {"config_name": config, "dataset_name": snake}
    for split in info["splits"].values():
        split["dataset_name"] = snake
    (target / "dataset_info.json").write_text(json.dumps(info))
