# Two commands on a fresh machine: make demo, make test. Both need Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
# Each worker takes whole files of tests (the longest first, see tests/conftest.py).
WORKERS ?= 2
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
SLOW := slow or data

.PHONY: demo test types tests test-slow test-all bench bench-check docs format clean

demo: .venv/installed
	$(BIN)/gpool demo --workdir runs/demo

# Types are checked beside the tests, which at times leave a core idle.
test: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --jobs 2 types tests

types: .venv/installed-test
	$(BIN)/mypy

tests: .venv/installed-test
	$(PYTEST) -m "not ($(SLOW))"

# What takes long: real data, many processes, real lengths.
test-slow: .venv/installed-test
	$(PYTEST) -m "$(SLOW)"

test-all: test test-slow

# Where the committed results of this kind of machine are; SUITES and ONLY narrow a run.
RESULTS ?= benchmarks/results/cpu.json
SUITES ?= all
ONLY ?=

bench: .venv/installed
	$(BIN)/python -m benchmarks $(SUITES) --only "$(ONLY)" --out runs/bench.json

# Ratios of the suites that have opponents (needs PyTorch) against the committed ones.
bench-check: SUITES = train evaluate rank attack
bench-check: .venv/installed-torch
	$(BIN)/python -m benchmarks $(SUITES) --only "$(ONLY)" --no-isolated --out runs/bench-check.json
	$(BIN)/python -m benchmarks.check runs/bench-check.json $(RESULTS)

# Warnings are errors; the page is docs/_build/html/index.html.
docs: .venv/installed-docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -q -b html docs docs/_build/html

.venv/installed-docs: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

format: .venv/installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/installed-test: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

.venv/installed-torch: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[torch]'
	touch $@

clean:
	rm -rf .venv build *.egg-info docs/_build docs/reference/generated
