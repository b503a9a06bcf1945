#!/usr/bin/env bash
# A cell of the paper's main table. Llama-3.2-1B: 3,000 steps, no KL penalty, up to 1,536 tokens.
# Further words are overrides, such as trainer.use_vllm=true or plan=true. Costs: docs/reproduce.md
cd "$(dirname "$0")/../.." || exit
exec "${PYTHON:-.venv/bin/python}" run.py experiment=main_table scale=paper family=llama regime=pretrained comparators=paper judge=panel "$@"
