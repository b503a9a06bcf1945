#!/usr/bin/env bash
# The cheapest cell with a published number: Qwen2.5-0.5B with Gemma-4-E4B as verifier, 1,000 steps.
# Published: 70.0 % against the untrained model, 34.0 % against the instruct model. Costs: docs/reproduce.md
cd "$(dirname "$0")/../.." || exit
exec "${PYTHON:-.venv/bin/python}" run.py -m experiment=verifier_sweep scale=paper reward=cme verifier=gemma comparators=paper selection.every=null capabilities=none "$@"
