# Needs python3 >= 3.11 and a package index; everything else goes into .venv.
#
#   make demo                        an order system that tests itself; ARGS="--duration 20", ARGS="--break cache"
#   make test                        ruff, mypy, import-linter and the tests
#   make bench                       what LiveCheck costs, beside a peer
#   make bench-outage                what an outage costs a request, beside stock Celery; ARGS="--rows frozen"
#   make chaos                       kills everything while tests run, and audits every verdict; ARGS="--seed 7"

PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: install demo lint test bench bench-outage chaos clean

install: .venv/installed

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "LiveCheck needs Python 3.11 or newer; see PYTHON in the Makefile")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@

demo: install
	@$(BIN)/livecheck demo $(ARGS)

lint: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/pytest -n 2 --dist loadfile $(ARGS)

bench: install .venv/installed-bench
	@$(BIN)/python -m benchmarks.bench
	@$(BIN)/python -m benchmarks.unsampled

bench-outage: install
	@$(BIN)/python -m benchmarks.outage $(ARGS)

chaos: install
	@$(BIN)/python -m chaos $(ARGS)

.venv/installed-bench: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[bench]"
	touch $@

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
