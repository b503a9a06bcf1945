"""Stand-ins for the tiny models and the data set of the hub that TRL's tests name: local folders of the same names.

A name such as `trl-internal-testing/zen` is a relative path: tests that run in the folder of the stand-ins read them.
"""

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from datasets import DatasetDict
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from cme.miniature.families import FAMILIES, train_tokenizer
from cme.miniature.models import tokenizer_texts

OWNER = "trl-internal-testing"
SHAPE = {
    "hidden_size": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 32,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
GENERATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "tiny-Qwen2ForCausalLM-2.5": ("qwen2", {}),
    "tiny-Qwen3ForCausalLM": ("qwen3", {"head_dim": 4}),
    "tiny-Qwen3MoeForCausalLM": ("qwen3_moe", {"head_dim": 4, **EXPERTS}),
    "tiny-LlamaForCausalLM-3.2": ("llama", {}),
    "tiny-MistralForCausalLM-0.2": ("mistral", {}),
    "tiny-Gemma2ForCausalLM": ("gemma2", {"head_dim": 4}),
    "tiny-Cohere2ForCausalLM": ("cohere2", {}),
}
"""Model type, and settings beside SHAPE."""
REWARD_MODELS = {
    "tiny-Qwen2ForSequenceClassification-2.5": "qwen2",
    "tiny-Qwen3ForSequenceClassification": "qwen3",
    "tiny-LlamaForSequenceClassification-3.2": "llama",
}


def build(folder: Path, trl: Path) -> None:
    """Write the stand-ins to `folder`, the data set by the script in a checkout of TRL."""
    owner = folder / OWNER
    tokenizer = train_tokenizer(FAMILIES["qwen"], tokenizer_texts())
    tokenizer.chat_template = FAMILIES["qwen"].template
    ends = {
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
    }
    common = SHAPE | ends | {"vocab_size": len(tokenizer), "dtype": "float32"}
    for name, (kind, settings) in GENERATORS.items():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **common, **settings))
        model.save_pretrained(owner / name)
        tokenizer.save_pretrained(owner / name)
    for name, kind in REWARD_MODELS.items():
        torch.manual_seed(0)
        config = AutoConfig.for_model(kind, **common, num_labels=1)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(owner / name)
        tokenizer.save_pretrained(owner / name)
    write_data_set(owner / "zen", trl / "scripts" / "generate_zen_dataset.py")


def write_data_set(folder: Path, script: Path) -> None:
    """Run TRL's script and write its uploads to `folder`, which `load_dataset` reads like a repository of the hub."""
    configs: list[dict[str, Any]] = []

    def write(data: DatasetDict, _: str, config_name: str) -> None:
        files = []
        for split, rows in data.items():
            path = folder / config_name / f"{split}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            rows.to_parquet(path)
            files.append({"split": split, "path": str(path.relative_to(folder))})
        configs.append({"config_name": config_name, "data_files": files})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatasetDict, "push_to_hub", write)
        runpy.run_path(str(script))["main"](test_size=0.1, push_to_hub=True, repo_id="")
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': configs})}---\n")
