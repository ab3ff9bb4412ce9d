# Everything is set up here: `make demo` and `make test` need Python 3.11 or newer, git and make, and no privileges.

SHELL := /bin/sh
VENV ?= .venv
BIN := $(VENV)/bin
# The first interpreter that is new enough; set PYTHON to choose another.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.PHONY: help demo try test lint format bench bench-memory compat fidelity fuzz fuzz-wire dist clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' Makefile | expand -t 16

demo: $(VENV)/demo.stamp ## the same table as different people see it: PostgreSQL, sample data, proxy, scenes
	@$(BIN)/python -m proxy demo --tour

try: $(VENV)/demo.stamp ## the same servers, to be tried out with psql or Python until Ctrl-C
	@$(BIN)/python -m proxy demo

test: lint ## every check: format, lint, types, import direction, tests (TESTS=tests/wire narrows the tests)
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile $(TESTS)

lint: $(VENV)/dev.stamp ## everything of `make test` but the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/dev.stamp ## put the code in form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/dev.stamp ## throughput and CPU a query: direct, through the proxy, through PgBouncer where there is one
	$(BIN)/python -m bench

bench-memory: $(VENV)/dev.stamp ## memory while a client reads 1 MB/s, and of idle and busy connections (MEMORY='--seconds 500')
	$(BIN)/python -m bench.memory $(MEMORY)

fidelity: $(VENV)/dev.stamp ## PostgreSQL's own regression scripts, directly and through the proxy (FIDELITY='--minutes 20')
	$(BIN)/python -m tests.fidelity $(FIDELITY)

compat: $(VENV)/dev.stamp ## clients' own test suites, directly and through the proxy (SUITES='asyncpg Django')
	$(BIN)/python -m tests.compat $(SUITES)

fuzz: $(VENV)/dev.stamp ## random statements against two databases that differ in hidden cells (MINUTES=10 SEED=1)
	$(BIN)/python -m tests.noninterference.fuzz --minutes $(or $(MINUTES),10) --seed $(or $(SEED),1)

fuzz-wire: $(VENV)/dev.stamp ## random and damaged conversations against framing and session (PACKETS=1000000 SEED=1)
	$(BIN)/python -m tests.session.fuzz --packets $(or $(PACKETS),1000000) --seed $(or $(SEED),1)

dist: $(VENV)/dev.stamp ## the wheel, in dist/
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

clean: ## remove what these targets made
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found; set PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# A stamp is older than pyproject.toml when the dependencies may have changed.
$(VENV)/demo.stamp: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[demo]'
	@touch $@

$(VENV)/dev.stamp: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/demo.stamp
