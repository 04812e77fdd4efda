# Two commands: `make run` and `make test`. Both set up .venv first, which costs nothing where it is current.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run test test-long check setup constraints clean
.DEFAULT_GOAL := help

help:
	@echo 'make run        set up, and compare the algorithms on the embedded lab'
	@echo 'make test       set up, and run the checks and the suite'
	@echo 'make setup      set up .venv alone'
	@echo 'make check      ruff, mypy and the layer test'
	@echo 'make test-long  whole comparisons that CI has no time for'

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "harness needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo 'cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv'; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

setup: $(READY)

run: setup
	$(BIN)/harness run recipes/compare_all.toml

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py

test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadscope

test-long: setup
	$(BIN)/python -m pytest -q -m long

# After a deliberate upgrade: write down the exact versions that the suite passed with.
constraints:
	$(BIN)/python -m pip freeze --exclude-editable | grep -v ' @ ' | sed 's,+cpu$$,,' > constraints.txt

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
