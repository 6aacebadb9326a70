# Needs Python 3.11 or newer, make and a package index; everything else goes into .venv, .venv-oldest and .venv-bench.
# `make` lists the targets.

PYTHON ?= python3
BIN := .venv/bin
OLDEST := .venv-oldest/bin
ARGS ?=
# On all cores; pip uses one. Some packages have templates that are not Python.
COMPILE := python -W ignore -m compileall -qq -j 0
# A file at a time, in the order of tests/conftest.py.
SPREAD := --dist loadfile --no-loadscope-reorder

.PHONY: help install demo lint audit test test-acceptance test-oldest wheel test-wheel recipe-pretix docs bench bench-outage bench-scale chaos clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1#/p' $(firstword $(MAKEFILE_LIST)) | awk -F'#' '{printf "make %-14s %s\n", $$1, $$2}'

install: .venv/installed ## create .venv and install the package and its development tools

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "LiveCheck needs Python 3.11 or newer; see PYTHON in the Makefile")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -e ".[dev]"
	$(BIN)/$(COMPILE) .venv/lib || true
	touch $@

.venv/installed-docs: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[docs]"
	touch $@

# Of its own, since faust-streaming needs an older click.
.venv-bench/installed: pyproject.toml
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet --disable-pip-version-check -e ".[bench]"
	touch $@

demo: install ## run an order system that tests itself; ARGS="--duration 20", ARGS="--break cache"
	@$(BIN)/livecheck demo $(ARGS)

lint: install ## run ruff, mypy and import-linter, and look up known vulnerabilities, if the advisories can be reached
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(BIN)/python -m tools.audit --unless-offline

.venv-release/installed:
	$(PYTHON) -m venv .venv-release
	.venv-release/bin/pip install --quiet --disable-pip-version-check "cyclonedx-bom>=7.2"
	touch $@

audit: install ## look up known vulnerabilities of all dependencies; fails without the advisories of OSV
	@$(BIN)/python -m tools.audit

ifeq ($(strip $(ARGS)),)
test: lint ## run lint, and the unit and integration tests with their branch coverage; ARGS="tests/unit" runs a part
	$(BIN)/pytest -n 3 $(SPREAD) --cov --cov-report= --cov-fail-under=0 tests/integration tests/unit
	@echo "Branch coverage of unit and integration tests; files below 90 %:"
	@$(BIN)/coverage report --fail-under=0 | awk '/^TOTAL/ || /\.py/ && $$NF + 0 < 90'
	@$(BIN)/coverage report --format=total >/dev/null || { echo "the total is below fail_under in pyproject.toml"; exit 1; }
else
test: lint
	$(BIN)/pytest -n 2 $(SPREAD) $(ARGS)
endif

test-acceptance: install ## run the tests on real workers, beats and web servers, started as a user types them
	$(BIN)/pytest -n 3 $(SPREAD) $(or $(ARGS),tests/acceptance)

# The acceptance tests of the core: a worker, hops between tasks, triggers, recovery, and the command line.
CORE := $(addprefix tests/acceptance/test_,celery_face.py celery_hops.py aio.py triggering.py recovery.py cli.py demo.py examples.py)

.venv-oldest/installed: pyproject.toml tools/oldest.py
	$(PYTHON) -m venv .venv-oldest
	$(PYTHON) -m tools.oldest hosts > .venv-oldest/constraints.txt
	$(OLDEST)/pip install --quiet --disable-pip-version-check --no-compile -c .venv-oldest/constraints.txt -e ".[tests]"
	$(OLDEST)/$(COMPILE) .venv-oldest/lib || true
	touch $@

# Deprecations are those of old releases; anyio's plugin for pytest is one of them.
ifeq ($(strip $(ARGS)),)
test-oldest: .venv-oldest/installed ## run the tests with the oldest versions of all dependencies
	$(OLDEST)/pytest -p no:anyio -n 2 $(SPREAD) tests/integration tests/unit
	$(OLDEST)/pytest -p no:anyio -n 3 $(SPREAD) $(CORE)
else
test-oldest: .venv-oldest/installed
	$(OLDEST)/pytest -p no:anyio -n 2 $(SPREAD) $(ARGS)
endif

wheel: .venv-release/installed ## build a wheel into dist/, and its SBOM: the versions that a clean environment gets
	rm -rf dist build
	$(PYTHON) -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	$(PYTHON) -m venv --without-pip build/clean
	$(PYTHON) -m pip --python build/clean install --quiet --disable-pip-version-check dist/*.whl
	.venv-release/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type library --output-reproducible \
		--output-file "$$(ls dist/*.whl | sed 's/whl$$/cdx.json/')" build/clean
	@ls dist/*

test-wheel: wheel ## run the demo from the wheel, in an environment of its own
	$(PYTHON) -m pip --python build/clean install --quiet --disable-pip-version-check "$$(ls dist/*.whl)[demo]"
	cd build && clean/bin/livecheck demo --duration 10
	rm -rf build/clean

recipe-pretix: wheel ## install pretix and LiveCheck beside it, and test an order in it
	rm -rf build/pretix && mkdir -p build && $(PYTHON) -m venv build/pretix
	build/pretix/bin/pip install --quiet --disable-pip-version-check pretix gunicorn
	build/pretix/bin/pip freeze > build/pretix/before.txt
	build/pretix/bin/pip install --quiet --disable-pip-version-check -c build/pretix/before.txt "$$(ls dist/*.whl)[embedded]"
	build/pretix/bin/pip freeze | diff build/pretix/before.txt - || true
	@! build/pretix/bin/pip freeze | diff build/pretix/before.txt - | grep '^<' # nothing of pretix's was replaced
	examples/pretix/run.sh build/pretix/bin

docs: .venv/installed-docs ## write the generated pages, and build the site into site/
	$(BIN)/python -m tools.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: install ## measure what LiveCheck costs, and write docs/performance.md: 12 minutes; ARGS="throughput idle", ARGS=--quick
	@$(MAKE) --silent .venv-bench/installed || echo "faust-streaming could not be installed: no comparison with it"
	@$(BIN)/python -m benchmarks $(ARGS)

bench-outage: install ## measure what an outage costs a request, compared with stock Celery; ARGS="--rows frozen"
	@$(BIN)/python -m benchmarks.outage $(ARGS)

bench-scale: install ## measure what an execution costs a cluster, and write docs/scale.md: a minute; ARGS=--quick
	@$(BIN)/python -m benchmarks.scale --json benchmarks/results/scale.json --page docs/scale.md $(ARGS)

chaos: install ## kill every process while tests run, and audit every verdict; ARGS="--seed 7"
	@$(BIN)/python -m chaos $(ARGS)

clean: ## remove .venv and all generated files
	rm -rf .venv .venv-oldest .venv-bench .venv-release build dist site .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
