# Every target sets up what it needs in .venv; a stamp there says that it is done, until pyproject.toml changes.

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin

.NOTPARALLEL:
.PHONY: demo test stress lint format typecheck bench clean

demo: .venv/.installed          ## the main job: a census of the standard library
	$(BIN)/headrace demo $(ARGS)

test: .venv/.installed-dev      ## make test ARGS="-k window"
	$(BIN)/python -m pytest $(ARGS)

stress: .venv/.installed-dev    ## what takes too long for CI
	$(BIN)/python -m pytest -m stress -o faulthandler_timeout=900 $(ARGS)

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: .venv/.installed-dev
	$(BIN)/mypy --strict

bench: .venv/.installed-bench   ## each prints its figures beside the limit and the peers
	set -e; for bench in benchmarks/bench_*.py; do $(BIN)/python "$$bench" $(ARGS); done

clean:
	rm -rf .venv dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis

# pip and not python is the target: a `venv` that failed half-way leaves a python behind, but no pip.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit("Headrace needs Python 3.11 or newer, and $(PYTHON) is %d.%d. Name another one: make PYTHON=python3.12" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/.installed-dev: pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ .venv/.installed

.venv/.installed-bench: pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	touch $@ .venv/.installed
