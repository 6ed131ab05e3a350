# Everything a developer or a machine does here has a name; `make help` lists them.
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROTOS := $(wildcard protos/artstore/v1/*.proto)
PYTEST_ARGS ?=
LINTERS := ruff-check ruff-format mypy lint-imports buf-lint buf-breaking gen-check
# Side by side, each with its output in one piece, and all of them whatever the first one finds.
SIDE_BY_SIDE = $(MAKE) --no-print-directory --jobs --keep-going \
	$(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

# Set for other programs, these would break ours: Python finds its own library and packages.
unexport PYTHONHOME PYTHONPATH PYTHONPLATLIBDIR PYTHONSTARTUP PYTHONINSPECT PYTHONWARNINGS
unexport PYTHONIOENCODING PIP_TARGET PIP_PREFIX PIP_ROOT PIP_USER CDPATH
# As it is set in many images: each start of a server or a command would compile all of it again.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONUTF8 := 1

.PHONY: help run reset certs install test test-full test-compose check unit lint $(LINTERS) format gen
.PHONY: released bench bench-quick image lock audit pin-images clean FORCE

help: ## Say what there is
	@awk -F ':.*## ' '/^[.a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run ## Run the mesh with embedded PostgreSQL and Valkey until Ctrl-C
	@$(BIN)/python -m launch

reset: $(VENV)/.run ## Empty the stores, the tables and Valkey (the mesh must be stopped)
	@$(BIN)/python -m launch.reset

certs: $(VENV)/.run ## Make certificates of one's own in .artstore/tls, or in CERTS=folder
	@$(BIN)/python -m launch.certificates $(if $(RENEW),--renew) $(SERVERS:%=--server %) $(CERTS)

install: $(VENV)/.dev ## Make .venv with everything that developing needs

# Two workers for each core: tests of what is silent wait more than they compute.
test: $(VENV)/.dev ## Run the tests against real PostgreSQL, Valkey and S3
	@$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder -m "not full and not containers" $(PYTEST_ARGS)

test-full: $(VENV)/.dev ## Run all tests, the stated sizes and the containers too
	@$(BIN)/python -m pytest --timeout 3600 -m "not containers" $(PYTEST_ARGS)
	@$(BIN)/python -m tests.containers -m containers

# Under ten minutes, which CI has no room for. As root on Debian it needs nothing but this checkout.
test-compose: $(VENV)/.dev ## Build, start and test compose.yaml with Docker, as root also without
	@$(BIN)/python -m tests.containers $(PYTEST_ARGS)

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

buf-breaking: $(VENV)/.dev
	@cd protos && ../$(BIN)/buf breaking --against released.binpb

format: $(VENV)/.dev ## Put the code into its form
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

gen: $(VENV)/.dev ## Make gen/ from protos/
	@$(call generate,gen)

released: $(VENV)/.dev ## Keep protos/ as the contract that later changes are held to (releases only)
	@cd protos && ../$(BIN)/buf build -o released.binpb

gen-check: $(VENV)/.dev
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && $(call generate,$$fresh) \
		&& diff -r --exclude=__pycache__ --exclude=__init__.py "$$fresh/artstore/v1" gen/artstore/v1 >&2 \
		|| { echo "gen/ is not what protos/ say: run make gen" >&2; exit 1; }

.env: export FILL = $(fill)
.env: FORCE ## Make .env for compose.yaml, with new secrets, or fill in what it lacks
	@umask 077 && rm -f .env.new && if [ -e .env ]; then \
		awk "$$FILL" compose.env.example .env > .env.new \
			&& if cmp -s .env.new .env; then rm .env.new; else mv -f .env.new .env; fi; \
	else \
		awk "$$FILL" compose.env.example compose.env.example > .env.new \
			&& ln .env.new .env && rm .env.new; \
	fi

bench: $(VENV)/.dev .venv-bench/.done ## Measure against the stated numbers and write the report
	@$(BIN)/python -m bench $(BENCH_ARGS)

# Small sizes, under five minutes a part; PART=upload takes all whose names begin so.
bench-quick: $(VENV)/.dev .venv-bench/.done ## Measure one part (PART=upload) and print its table
	@$(BIN)/python -m bench --quick --part $(or $(PART),upload-memory) --out .bench-quick $(BENCH_ARGS)

# A peer to measure against, with dependencies of its own.
.venv-bench/.done: requirements/bench.lock
	@$(locked_venv)

# Only the labels differ from what `docker build` makes: they name the commit.
image: ## Build the servers' image, artstore:VERSION, with Docker
	@docker build --tag artstore:$(VERSION) \
		--build-arg REVISION="$$(git rev-parse HEAD)" \
		--build-arg CREATED="$$(TZ=UTC git log -1 --date=iso-strict-local --format=%cd)" \
		--build-arg SOURCE_DATE_EPOCH="$$(git log -1 --format=%ct)" .

# The largest first: the others hold to its versions. Newer ones: LOCK_ARGS=--upgrade.
lock: .venv-tools/.done ## Pin what pyproject.toml needs, in requirements/
	@$(call pin,dev) --extra embedded --extra dev pyproject.toml
	@$(call pin,run) $(AS_TESTED) --extra embedded pyproject.toml
	@$(call pin,server) $(AS_TESTED) pyproject.toml
	@sed -n 's/^requires = \["\(.*\)"\]$$/\1/p' pyproject.toml | $(call pin,build) $(AS_TESTED) -
	@$(call pin,hints) --group hints
	@$(call pin,bench) --group bench
	@$(call pin,tools) --group tools

audit: $(VENV)/.dev .venv-tools/.done ## Look for known faults of what is locked, and list its licences
	@$(BIN)/python -m supply.audit $(AUDIT_ARGS)

pin-images: $(VENV)/.dev ## Write the digests of the images in Dockerfile and compose.yaml
	@$(BIN)/python -m supply.images

.venv-tools/.done: requirements/tools.lock
	@$(locked_venv)

clean: ## Remove .venv and what the tools leave behind; data stays
	@rm -rf $(VENV) .venv-tools build *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

VERSION = $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml)

# For every platform and each Python that we run on.
pin = .venv-tools/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --custom-compile-command "make lock" $(LOCK_ARGS) --output-file requirements/$(1).lock
AS_TESTED = --constraints requirements/dev.lock

# Made anew, as nothing takes away what a lock file names no more.
locked_venv = rm -rf $(@D) && $(PYTHON) -m venv $(@D) && $(@D)/bin/pip install -qq \
	--disable-pip-version-check --require-hashes --no-deps --only-binary :all: -r $< && touch $@

# $(1) is the folder to write to.
generate = mkdir -p $(1)/artstore/v1 && \
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I protos \
	--descriptor_set_out=$(1)/artstore/v1/contract.binpb --include_source_info \
	--python_out=$(1) --grpc_python_out=$(1) --mypy_out=quiet:$(1) --mypy_grpc_out=quiet:$(1) $(PROTOS)

# Of the example's lines those that another file lacks: before its lines, which may name them, or
# behind if they name others. What is commented out there is left out on purpose, unless a secret.
define fill
function name_of(line) {
	sub(/^[ \t]*(export[ \t]+)?/, "", line)
	return line ~ /^#?[ \t]*[A-Za-z_][A-Za-z0-9_]*[ \t]*=/ ? substr(line, 1, index(line, "=") - 1) : ""
}
function is_empty(line) {
	return substr(line, index(line, "=") + 1) ~ /^[ \t]*(""|'')?([ \t]+#.*|[ \t]*)$$/
}
function with_secret(name,    draw, secret) {
	draw = "od -An -vtx1 -N32 /dev/urandom | tr -d ' \\n'"
	draw | getline secret
	close(draw)
	if (length(secret) != 64) { failed = 1; exit 1 }
	told = told " " name
	return name "=" secret
}
function add(name, naming_others) {
	if (name in known || (index(example[name], "$${") > 0) != naming_others) return
	print is_empty(example[name]) ? with_secret(name) : example[name]
	if (!is_empty(example[name])) told = told " " name
}
FNR == NR {
	if (name_of($$0) ~ /^[A-Za-z_]/) { wanted[++count] = name_of($$0); example[wanted[count]] = $$0 }
	next
}
{
	name = name_of(lines[++last] = $$0)
	commented = sub(/^#/, "", name)
	gsub(/[ \t]/, "", name)
	if (!(name in example) || commented && is_empty(example[name])) next
	known[name] = 1
	of_line[last] = name
	if (!is_empty($$0)) given[name] = 1
}
END {
	if (failed) exit 1
	for (i = 1; i <= count; i++) add(wanted[i], 0)
	for (i = 1; i <= last; i++) {
		name = of_line[i]
		if (name == "" || name in given || !is_empty(example[name])) print lines[i]
		else { print with_secret(name); given[name] = 1 }
	}
	for (i = 1; i <= count; i++) add(wanted[i], 1)
	if (told != "" && FILENAME == ".env") print ".env: filled in" told > "/dev/stderr"
}
endef

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
