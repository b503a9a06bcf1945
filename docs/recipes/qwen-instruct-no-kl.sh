#!/usr/bin/env bash
# A cell of the paper's main table. Qwen2.5-0.5B-Instruct, the paper's second run: 3,000 steps, no KL penalty, up to 2,048 tokens.
# Further words are overrides, such as trainer.use_vllm=true or plan=true. Costs: docs/reproduce.md
cd "$(dirname "$0")/../.." || exit
exec "${PYTHON:-.venv/bin/python}" run.py experiment=main_table scale=paper family=qwen regime=instruct trainer.beta=0 trainer.max_steps=3000 comparators=paper judge=panel "$@"
