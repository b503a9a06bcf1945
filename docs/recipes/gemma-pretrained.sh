#!/usr/bin/env bash
# A cell of the paper's main table. Gemma-3-1B: 3,000 steps of four prompts, no KL penalty, repetition penalty 1.25, up to 1,536 tokens.
# Further words are overrides, such as trainer.use_vllm=true or plan=true. Costs: docs/reproduce.md
cd "$(dirname "$0")/../.." || exit
exec "${PYTHON:-.venv/bin/python}" run.py experiment=main_table scale=paper family=gemma regime=pretrained comparators=paper judge=panel "$@"
