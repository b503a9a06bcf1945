#!/usr/bin/env bash
# A cell of the paper's main table. OLMo-2-1B-SFT: 3,000 steps, no KL penalty, up to 1,536 tokens.
# Further words are overrides, such as trainer.use_vllm=true or plan=true. Costs: docs/reproduce.md
cd "$(dirname "$0")/../.." || exit
exec "${PYTHON:-.venv/bin/python}" run.py experiment=main_table scale=paper family=olmo regime=sft comparators=paper judge=panel "$@"
