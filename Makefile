# The two commands of a newcomer: `make demo` and `make test`. Both set everything up.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
FRAMEWORKS := torch==2.13.0 numpy
JAX := jax==0.10.2

SEEDS ?= 300
DEPTH ?= 5
SECONDS ?= 60

# The tests start Python a few thousand times, and each would compile all sources anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test test-interop test-all simulate fuzz mutants compat lint format clean

help:
	@echo "make demo          set up and run a job of 4 workers"
	@echo "make test          set up and run all tests (those that need torch or jax only if it is there)"
	@echo "make test-interop  install torch, numpy and jax and run the tests that need them"
	@echo "make test-all      run the tests on each of Python 3.11, 3.12 and 3.13 that is found"
	@echo "make simulate      explore SEEDS=300 simulated jobs in each store, and DEPTH=5 times the tests' seeds"
	@echo "make fuzz          let a fuzzer write to the c10d store for SECONDS=60"
	@echo "make mutants       check that the tests notice faults made on purpose"
	@echo "make compat        write docs/compat.md from the rows in tests/compat"
	@echo "make lint          ruff and mypy"
	@echo "make format        let ruff format and fix"

setup: $(VENV)/.ready

$(VENV)/.ready: requirements-dev.txt core/pyproject.toml $(wildcard plugins/*/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "elaunch needs Python 3.11 or newer; name one: make PYTHON=python3.12 demo" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -r requirements-dev.txt
	@touch $@

demo: setup
	$(BIN)/elaunch run --standalone --nproc-per-node 4 examples/sum_ranks.py

# Most wait for processes and leases for most of the time, those of etcd more than others.
test: setup
	$(BIN)/python -m pytest -m 'not etcd' --numprocesses 3 --dist worksteal
	$(BIN)/python -m pytest -m etcd --numprocesses 4 --dist worksteal

# Python compiles what it imports of them; pip would compile all, which takes as long again.
test-interop: setup
	$(BIN)/python -c 'import torch, numpy' 2>/dev/null || \
	  $(PIP) install --quiet --no-compile $(FRAMEWORKS)
	$(BIN)/python -c 'import jax' 2>/dev/null || \
	  $(PIP) install --quiet --no-compile $(JAX) || \
	  echo "$(JAX) can't be installed: its tests are skipped" >&2
	$(BIN)/python -m pytest -m interop --numprocesses 2 --dist worksteal -r s

test-all:
	@found=; for version in 3.11 3.12 3.13; do \
	  python$$version -c '' 2>/dev/null || { echo "python$$version: not found, skipped"; continue; }; \
	  echo "python$$version:"; found=1; \
	  $(MAKE) --no-print-directory test PYTHON=python$$version VENV=.venv-$$version || exit 1; \
	done; test -n "$$found" || { echo "no Python 3.11, 3.12 or 3.13 was found" >&2; exit 1; }

simulate: setup
	$(BIN)/python -m elaunch.testing.simulation --seeds $(SEEDS)
	PYTHONPATH=plugins/rdzv_c10d/tests $(BIN)/python -m elaunch.testing.simulation \
	  --backend test_simulation:C10dBackend --seeds $(SEEDS)
	PYTHONPATH=plugins/rdzv_etcd/tests $(BIN)/python -m elaunch.testing.simulation \
	  --backend test_v3_simulation:SimulatedEtcd --seeds $(SEEDS)
	TEST_DEPTH=$(DEPTH) $(BIN)/python -m pytest --numprocesses auto --dist worksteal \
	  core/tests/simulated core/tests/test_planner_stateful.py core/tests/test_written.py \
	  core/tests/test_scenarios.py core/tests/test_decision_scenarios.py

fuzz: setup
	$(BIN)/python -c 'import atheris' 2>/dev/null || $(PIP) install --quiet atheris
	$(BIN)/python plugins/rdzv_c10d/tests/fuzz.py -max_total_time=$(SECONDS) -rss_limit_mb=600 -timeout=5 -print_final_stats=1

mutants: setup
	$(BIN)/python tests/mutants.py

compat: setup
	$(BIN)/python tests/compat_table.py --write

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis
