# Every target sets up .venv in this checkout when it is missing or out of date.
PYTHON ?= python3
BIN := .venv/bin

# One thread per process: tests run in parallel, and results must not depend on the machine's cores. Names
# hashed alike in every process: what one has compiled, the next one finds, of Python's too.
TEST_ENV := OMP_NUM_THREADS=1 MPLBACKEND=Agg PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=
# XLA's optimisations and fusions take two thirds of the time of its compilations here, and change nothing
# but the last digits, and the speed of programs that run for milliseconds.
QUICKLY_COMPILED := JAX_DISABLE_MOST_OPTIMIZATIONS=true \
	XLA_FLAGS="--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
# What one worker has compiled, the other one finds, and so does the next run.
KEPT_COMPILATIONS := JAX_COMPILATION_CACHE_DIR=$(CURDIR)/.jax_cache \
	JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadgroup

# Every folder of tests but the shared ones, by its name in tests/ or equivalence_tests/.
WINGS := $(sort $(notdir $(patsubst %/,%,$(dir $(wildcard tests/*/test_*.py equivalence_tests/*/test_*.py)))))
WING_FOLDERS = $(wildcard tests/$(WING) equivalence_tests/$(WING))

# Where a version of the frameworks, of files or of other tools shows first.
VERSION_TESTS := tests/commands/test_every_command.py tests/interop tests/training/test_fit_gives.py \
	$(addprefix tests/data/,test_anndata_file.py test_frames.py test_stored.py test_xarray_file.py) \
	$(addprefix tests/programs/,test_first_values.py test_normal.py) \
	$(addprefix tests/compiled/test_,compiled_models.py numpyro_compiled_models.py) \
	$(addprefix tests/recording/test_record_,numpyro_sites.py pyro_sites.py)

.PHONY: demo docs test test-all test-wing test-oldest test-newest lint format clean

demo: .venv/ready
	@rm -rf demo-out
	$(BIN)/twinplate demo --out demo-out

docs: .venv/ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Open docs-site/index.html in a browser; it needs no network."

test: .venv/ready
	$(TEST_ENV) $(QUICKLY_COMPILED) $(KEPT_COMPILATIONS) $(PYTEST) -m "not slow"

test-all: .venv/ready
	$(TEST_ENV) $(QUICKLY_COMPILED) $(KEPT_COMPILATIONS) $(PYTEST)
	@echo "The reference programs once more, as XLA compiles them for users:"
	$(TEST_ENV) $(PYTEST) equivalence_tests/reference -m "not slow"

test-wing: .venv/ready
	@$(if $(filter-out $(WINGS),$(WING))$(filter-out 1,$(words $(WING))),echo "make test-wing WING=...: given '$(WING)'; expected one of $(WINGS)"; exit 2)
	$(TEST_ENV) $(QUICKLY_COMPILED) $(KEPT_COMPILATIONS) $(PYTEST) -m "not slow" $(WING_FOLDERS)

# Environments of their own, of the lowest and of the newest versions that pyproject.toml allows. uv finds them; it
# takes wishes from its variables, such as UV_OVERRIDE. What old versions deprecate in each other is not our matter.
# Without XLA_FLAGS: a flag that XLA no longer knows ends the process, as that of the fusions does from jax 0.11 on.
test-oldest: VERSIONS := lowest-direct
test-newest: VERSIONS := highest
test-oldest test-newest: ENV = .venv-$(@:test-%=%)
test-oldest test-newest:
	$(PYTHON) -m venv --clear $(ENV)
	$(ENV)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(ENV)/bin/uv pip install --quiet --python $(ENV)/bin/python --resolution $(VERSIONS) \
		--editable ".[all,anndata,arviz,xarray]" "hypothesis>=6.100" "pandas>=2.2" "polars>=1.20"
	$(ENV)/bin/twinplate doctor --quiet
	$(TEST_ENV) JAX_DISABLE_MOST_OPTIMIZATIONS=true $(ENV)/bin/python -m pytest -m "not slow" -p no:cacheprovider \
		-W ignore::DeprecationWarning -W ignore::SyntaxWarning $(VERSION_TESTS)

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
	rm -rf .venv .venv-oldest .venv-newest demo-out docs-site .jax_cache .pytest_cache .ruff_cache .mypy_cache .hypothesis build *.egg-info
