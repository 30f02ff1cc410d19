# Every target sets up .venv in this checkout when it is missing or out of date.
PYTHON ?= python3
BIN := .venv/bin

# One thread per process: tests run in parallel, and results must not depend on the machine's cores.
TEST_ENV := OMP_NUM_THREADS=1 MPLBACKEND=Agg

.PHONY: demo test test-all lint format clean

demo: .venv/ready
	@rm -rf demo-out
	$(BIN)/twinplate demo --out demo-out

test: .venv/ready
	$(TEST_ENV) $(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow"

test-all: .venv/ready
	$(TEST_ENV) $(BIN)/python -m pytest -n 2 --dist loadgroup

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/ready: pyproject.toml constraints.txt
	@echo "Setting up .venv (a minute or two; needs Python 3.11 or newer) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; run: make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[all,dev]"
	@touch $@

clean:
	rm -rf .venv demo-out .pytest_cache .ruff_cache .mypy_cache .hypothesis build *.egg-info
