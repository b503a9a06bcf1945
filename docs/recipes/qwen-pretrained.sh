#!/usr/bin/env bash
# A cell of the paper's main table. Qwen2.5-0.5B: 5,000 steps, KL 0.01, up to 2,048 tokens.
# Further words are overrides, such as trainer.use_vllm=true or plan=true. Costs: docs/reproduce.md
cd "$(dirname "$0")/../.." || exit
exec "${PYTHON:-.venv/bin/python}" run.py experiment=main_table scale=paper family=qwen regime=pretrained comparators=paper judge=panel "$@"
