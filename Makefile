# `make run` and `make test` set up everything they need in .venv; run them again after any change.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
COMPILED := $(shell find allocator tests -name '*.pyx' -o -name '*.pxd') \
	$(wildcard allocator/agent/containers/programs/*.[ch])
MODULES := $(subst /,.,$(basename $(shell find allocator -name '*.pyx')))

.PHONY: run demo test lint bench docs clients

run: $(VENV)/.installed-cli
	$(BIN)/allocator simulate --workload mesos

demo: $(VENV)/.installed-all
	$(BIN)/allocator demo

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -m mypy.stubtest --mypy-config-file pyproject.toml \
		--allowlist tests/typing/stubtest-allowlist.txt $(MODULES)

# Each benchmark of this working tree, once: shows that it runs, measures nothing.
bench: $(VENV)/.installed-dev
	$(BIN)/asv machine --yes >/dev/null
	ALLOCATOR_BENCH_GRID=$${ALLOCATOR_BENCH_GRID:-smoke} $(BIN)/asv run -E existing --quick --dry-run --show-stderr

# The documentation as a site, in site/; a warning is an error.
docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# The published clients that tests drive, if npm is there; without them those tests are skipped.
clients: .clients/.installed

.clients/.installed: tests/service/clients/install
	PYTHON=$(PYTHON) tests/service/clients/install .clients

# Editable: Python files are used in place; a change of a compiled one installs again. `dev` has all
# of `all`, and that all of `cli`: a stamp stands for those below it.
$(VENV)/.installed-%: $(VENV)/bin/python pyproject.toml setup.py $(COMPILED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@ $(VENV)/.installed-cli $(if $(filter dev,$*),$(VENV)/.installed-all)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
