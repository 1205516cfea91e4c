# Two commands on a fresh machine: `make demo` and `make test`. Both use uv when it is on PATH, else venv and pip.

PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
# An environment for each tool whose pins are not ours: .venv-NAME, from tests/NAME.txt.
EMULATOR := .venv-ministack
CHECKOV := .venv-checkov
SAM := .venv-sam
STACKS := build/stacks
HAVE_UV := $(shell command -v uv 2>/dev/null)
# Workers for the tests, one per core.
JOBS ?= auto

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-aws bench lint clean
.DELETE_ON_ERROR:

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{printf "make %-9s %s\n", $$1, $$2}'

demo: $(VENV)/.installed ## install into .venv, run the demo scenario, write reports/demo/index.html
	@$(BIN)/spotbed demo

test: $(VENV)/.installed-dev $(EMULATOR)/.installed ## the test suite (no AWS account, no network)
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

test-all: $(VENV)/.installed-dev $(EMULATOR)/.installed $(SAM)/.installed ## the test suite with its slow part
	@SPOTBED_HYPOTHESIS=exploring $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not bench"

test-aws: $(VENV)/.installed-dev ## against a real account: SPOTBED_AWS_TARGET=TARGET.yaml; it costs money, and asks
	@$(BIN)/python tests/smoke_aws.py

bench: $(VENV)/.installed-dev ## speed and memory on the pinned scenario
	@$(BIN)/python benchmarks/bench_speed.py
	@$(BIN)/python benchmarks/bench_parallel.py
	@$(BIN)/python benchmarks/bench_backfill.py
	@$(BIN)/python -m pytest -m bench -p no:xdist -q -s

lint: lint-code lint-stacks ## ruff, mypy --strict, import-linter; and both stacks: own rules, cfn-lint, checkov, ASL

lint-code: $(VENV)/.installed-dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

lint-stacks: $(VENV)/.installed-dev $(CHECKOV)/.installed $(SAM)/.installed
	@rm -rf $(STACKS)
	@$(BIN)/python tests/render_stacks.py $(STACKS)
	@$(BIN)/python tests/guard.py
	@$(SAM)/bin/python tests/transform_stacks.py $(STACKS)
	@$(BIN)/cfn-lint $(STACKS)/*.yaml $(STACKS)/*.transformed.json && echo "cfn-lint: nothing, before and after the transform"
	@$(CHECKOV)/bin/checkov --config-file aws/checkov.yaml --directory $(STACKS)
	@if command -v npx >/dev/null; then npx --yes --loglevel=error asl-validator@4.0.0 --json-path aws/worker.asl.json; \
	else echo "asl-validator: skipped, there is no npx; tests/test_aws_asl.py finds unreachable states too"; fi

clean: ## remove the environments and all caches; reports are kept
	@rm -rf $(VENV) $(EMULATOR) $(CHECKOV) $(SAM) build dist .benchmarks .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A missing or dangling interpreter rebuilds the environment.
$(BIN)/python:
	@echo "creating $(VENV)" >&2
ifneq ($(HAVE_UV),)
	@uv venv --quiet --clear --python "$(or $(PYTHON),>=3.11)" $(VENV)
else
	@python=; for candidate in $(or $(PYTHON),python3.13 python3.12 python3.11 python3); do \
	  if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	  then python=$$candidate; break; fi; done; \
	if [ -z "$$python" ]; then \
	  echo "spotbed needs Python 3.11 or newer with its venv module, and found none" >&2; \
	  echo "(on Debian and Ubuntu: apt install python3 python3-venv). Another one: make PYTHON=/path/to/python3.12" >&2; \
	  exit 1; fi; \
	"$$python" -m venv --clear $(VENV)
endif

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "installing spotbed into $(VENV)" >&2
	@$(call install,.)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	@echo "installing spotbed and its development tools into $(VENV)" >&2
	@$(call install,.[dev])
	@touch $@ $(VENV)/.installed

.venv-%/.installed: tests/%.txt | $(BIN)/python
	@echo "installing $* into .venv-$*" >&2
	@$(call environment,.venv-$*,$<)
	@touch $@

ifneq ($(HAVE_UV),)
install = uv pip install --python $(BIN)/python --quiet --editable '$(1)'
environment = uv venv --quiet --clear --python $(BIN)/python $(1) && \
  uv pip install --python $(1)/bin/python --quiet --requirement $(2)
else
install = $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '$(1)'
environment = $(BIN)/python -m venv --clear $(1) && \
  $(1)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $(2)
endif
