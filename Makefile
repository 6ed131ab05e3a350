# Everything a developer or a machine does here has a name; `make help` lists them.
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROTOS := $(wildcard protos/artstore/v1/*.proto)
PYTEST_ARGS ?=
LINTERS := ruff-check ruff-format mypy lint-imports buf-lint gen-check
# Side by side, each with its output in one piece, and all of them whatever the first one finds.
SIDE_BY_SIDE = $(MAKE) --no-print-directory --jobs --keep-going \
	$(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

# Set for other programs, these would break ours: Python finds its own library and packages.
unexport PYTHONHOME PYTHONPATH PYTHONPLATLIBDIR PYTHONSTARTUP PYTHONINSPECT PYTHONWARNINGS
unexport PYTHONIOENCODING PIP_TARGET PIP_PREFIX PIP_ROOT PIP_USER CDPATH
export PYTHONUTF8 := 1

.PHONY: help run reset install test test-full check unit lint $(LINTERS) format gen bench clean FORCE

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run ## Run the mesh with embedded PostgreSQL and Valkey until Ctrl-C
	@$(BIN)/python -m launch

reset: $(VENV)/.run ## Empty the stores, the tables and Valkey (the mesh must be stopped)
	@$(BIN)/python -m launch.reset

install: $(VENV)/.dev ## Make .venv with everything that developing needs

# Three workers on two cores: tests of what is silent wait more than they compute.
test: $(VENV)/.dev ## Run the tests against real PostgreSQL, Valkey and S3
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not full" $(PYTEST_ARGS)

test-full: $(VENV)/.dev ## Run all tests, the stated sizes too
	@$(BIN)/python -m pytest --timeout 3600 $(PYTEST_ARGS)

check: $(VENV)/.dev ## Lint and run the unit tests, side by side: under a minute
	@$(SIDE_BY_SIDE) $(LINTERS) unit

unit: $(VENV)/.dev ## Run the unit tests alone
	@$(BIN)/python -m pytest -q -n 2 tests/unit $(PYTEST_ARGS)

lint: $(VENV)/.dev ## Check style, types, imports, the protos and that gen/ is up to date
	@$(SIDE_BY_SIDE) $(LINTERS)

ruff-check: $(VENV)/.dev
	@$(BIN)/ruff check .

ruff-format: $(VENV)/.dev
	@$(BIN)/ruff format --check .

mypy: $(VENV)/.dev
	@$(BIN)/mypy

lint-imports: $(VENV)/.dev
	@$(BIN)/lint-imports --no-logo

buf-lint: $(VENV)/.dev
	@cd protos && ../$(BIN)/buf lint

format: $(VENV)/.dev ## Put the code into its form
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

gen: $(VENV)/.dev ## Make gen/ from protos/
	@$(call generate,gen)

gen-check: $(VENV)/.dev
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && $(call generate,$$fresh) \
		&& diff -r --exclude=__pycache__ --exclude=__init__.py "$$fresh/artstore/v1" gen/artstore/v1 >&2 \
		|| { echo "gen/ is not what protos/ say: run make gen" >&2; exit 1; }

bench: $(VENV)/.dev .venv-bench/.done ## Measure against the stated numbers and write the report
	@$(BIN)/python -m bench

# A peer to measure against, with dependencies of its own.
.venv-bench/.done:
	@$(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/pip install -qq --disable-pip-version-check buildgrid==0.4.4
	@touch $@

clean: ## Remove .venv and what the tools leave behind; data stays
	@rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

# $(1) is the folder to write to.
generate = PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I protos \
	--python_out=$(1) --grpc_python_out=$(1) --mypy_out=quiet:$(1) --mypy_grpc_out=quiet:$(1) $(PROTOS)

# What is to be found out before Python can say anything.
define no_python
no $(PYTHON) here: install Python 3.11 or newer, or name one (make PYTHON=/path/to/python3)
endef
define old_python
Python 3.11 or newer is needed, and $(PYTHON) is $$("$(PYTHON)" --version 2>&1 | tail -n 1): \
install one, or name it (make PYTHON=python3.12)
endef

# Always looked at: a checkout may have been moved, a Python removed, an installation cut off.
$(VENV)/.run $(VENV)/.dev: FORCE
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { echo "$(no_python)" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "$(old_python)" >&2; exit 1; }
	@"$(PYTHON)" -I launch/install.py $(@F:.%=%)

FORCE:
