# Needs git, make and python3 (3.11 or newer, with venv). PYTHON=… chooses the interpreter .venv is made from.
#   make demo ARGS="--for 60s --speed 20"      make test ARGS="tests/geo -k index"

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo check test chaos bench gate fuzz lock clean check-style check-format check-types check-imports check-rules \
        check-rule-tests check-zones check-registry check-contracts

# What is installed is named by the content of the locks: a fresh clone, another branch or a new lock installs again, a
# changed file time does not.
RUN_STAMP := $(VENV)/.run-$(shell cat Makefile requirements.txt | cksum | cut -d ' ' -f 1)
DEV_STAMP := $(VENV)/.dev-$(shell cat Makefile requirements-dev.txt | cksum | cut -d ' ' -f 1)
# The loops of the core as machine code, kept beside their source: half a minute once, a second from then on.
LOOPS := $(BIN)/python -c 'from rules.detection.detector import prepare; prepare()'
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

help: ## what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 8

setup: $(DEV_STAMP) ## .venv with everything for working on zhinao

demo: $(RUN_STAMP) ## the shipped city, live, without Kafka (ARGS=…)
	$(BIN)/python -m app demo $(ARGS)

check: $(DEV_STAMP) ## style, types, imports, rules and their tests, zones, registry, contracts; all of them, even when one fails
	@$(MAKE) --no-print-directory --keep-going check-style check-format check-types check-imports check-rules \
	    check-rule-tests check-zones check-registry check-contracts

check-style: $(DEV_STAMP)
	$(BIN)/ruff check
check-format: $(DEV_STAMP)
	$(BIN)/ruff format --check
check-types: $(DEV_STAMP)
	$(BIN)/mypy
check-imports: $(DEV_STAMP)
	$(BIN)/lint-imports --no-logo
check-rules: $(RUN_STAMP)
	$(BIN)/python -m app rules check
check-rule-tests: $(RUN_STAMP)
	$(BIN)/python -m app rules test
check-zones: $(RUN_STAMP)
	$(BIN)/python -m app zones check
check-registry: $(RUN_STAMP)
	$(BIN)/python -m app registry check
check-contracts: $(RUN_STAMP)
	$(BIN)/python -m app contracts check

# Two processes: what needs servers in one of them, in order, and beside it the rest. ARGS=-n0 for one alone.
test: $(DEV_STAMP) ## the tests (ARGS=…)
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

chaos: $(DEV_STAMP) ## faults under load on a real Kafka, some 45 minutes (ARGS="--seed 7 --only F04")
	$(BIN)/python -m tests.reliability.chaos $(ARGS)

bench: $(RUN_STAMP) ## the quick benchmarks (ARGS=…)
	$(BIN)/python -m benchmarks --quick $(ARGS)

gate: $(RUN_STAMP) ## whether the core is slower than four hours ago (ARGS=…)
	$(BIN)/python -m benchmarks.gate $(ARGS)

# The fuzzer stands beside .venv: it has wheels for few Pythons, and nothing else needs it.
fuzz: $(DEV_STAMP) ## fuzz what reads records, guided by coverage (ARGS=seconds, 60 unless told)
	test -d .fuzz/with || $(PIP) --require-hashes --target .fuzz/with -r tests/fuzz/requirements.txt
	PYTHONPATH=.fuzz/with nice -n 15 $(BIN)/python -m tests.fuzz $(or $(ARGS),60)

# For Python 3.11 on Linux x86_64 and newer. Keeps the versions that still fit; ARGS=--upgrade takes the newest.
COMPILE = CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe \
    --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options $(ARGS)
lock: $(DEV_STAMP) ## requirements.txt and requirements-dev.txt from pyproject.toml (ARGS=--upgrade)
	$(COMPILE) --output-file requirements.txt pyproject.toml
	$(COMPILE) --extra dev --constraint requirements.txt --output-file requirements-dev.txt pyproject.toml

clean: ## away with .venv and every cache
	rm -rf $(VENV) .cache .benchmarks .fuzz .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache *.egg-info build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "zhinao needs Python 3.11 or newer; choose one with make PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) has no venv module (Debian: python3-venv)" >&2; exit 1; }

$(RUN_STAMP): | $(BIN)/python
	@echo "once: installing what zhinao needs and compiling its loops, about a minute" >&2
	$(PIP) --require-hashes -r requirements.txt
	$(LOOPS)
	@rm -f $(VENV)/.run-*
	@touch $@

# Also what it takes to run, and the `zhinao` command.
$(DEV_STAMP): | $(BIN)/python
	@echo "once: installing what working on zhinao needs and compiling its loops, about a minute" >&2
	$(PIP) --require-hashes -r requirements-dev.txt
	$(PIP) --quiet --no-deps --no-build-isolation --editable .
	$(LOOPS)
	@rm -f $(VENV)/.run-* $(VENV)/.dev-*
	@touch $(RUN_STAMP) $@
