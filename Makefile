# Everything runs in .venv, with the exact versions of constraints.txt. Only make and Python 3.11 to 3.13 are needed.

PYTHONS := python3.13 python3.12 python3.11 python3 python
USABLE := import sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for p in $(PYTHONS); do $$p -c '$(USABLE)' >/dev/null 2>&1 && echo $$p && break; done)
BIN := .venv/bin
STAMP := .venv/installed
# One thread a test process, so that as many of them as there are cores do not fight over the cores.
WORKERS ?= 2
# Bytecode is kept even where the environment says not to: what one of the test processes compiles, and pytest's rewritten
# tests, are a third of the time until the first test, and a second of every command that a test starts.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/pytest
# pip compiles every file on one core, which is half of its time: all cores do it, without what is seldom imported.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt
SELDOM := /tests?/|/testing/|/transformers/models/|/torch/(_inductor|_vendor|onnx)/|/torchgen/|/sympy/physics/
SELDOM := $(SELDOM)|/(fontTools|mypyc?|selenium|setuptools)/|/pygments/lexers/|/sqlalchemy/dialects/[^s]
COMPILE := $(BIN)/python -m compileall -qq -j 0 -x '$(SELDOM)' .venv/lib

.DEFAULT_GOAL := help
.PHONY: help demo test tests quick test-faults lint style types format docs site clean

help:  ## list what make can do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

demo: $(STAMP)  ## train and evaluate the embedded default on this machine (about three minutes)
	$(BIN)/surestep demo

# mypy is one process for a minute: beside the tests no core is left idle.
test: style  ## lint, types, tests and doctests: first the quick tests, then the slow ones
	$(MAKE) --no-print-directory -j 2 types tests

# One run: a second one would collect all tests again, and import torch, in each of its processes.
tests: $(STAMP)
	$(PYTEST) -n $(WORKERS) --dist worksteal

quick: $(STAMP)  ## the quick tests alone, in about three minutes on two cores
	$(PYTEST) -n $(WORKERS) --dist worksteal -m "not slow"

test-faults: $(STAMP)  ## the long form of the fault tests, with counts (half an hour): kills and full disks, then mutations
	$(PYTEST) -m faults tests
	$(PYTEST) tests_faults

lint: style types  ## ruff and mypy

style: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

format: $(STAMP)  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)  ## write the references of the configuration and of the Python names anew from the source
	$(BIN)/python -m surestep.config.reference docs/configuration.md
	$(BIN)/python docs/python_reference.py docs/reference/python.md

site: $(STAMP)  ## build the documentation site; a link or an anchor that leads nowhere is an error
	$(BIN)/python docs/site_pages.py build/docs
	$(BIN)/zensical build --strict --config-file build/docs/mkdocs.yml

clean:  ## remove the environment and all caches; runs under outputs/ stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist src/*.egg-info

# Repeated whenever what the environment should hold has changed; exact versions make that quick and safe. One pip keeps
# one core busy, so two of them first install the pinned packages as they are; the last call adds what else is needed
# here, and is the one that decides whether all is well.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 to 3.13 with venv found ($(PYTHONS)); install one, or name it: make PYTHON=/path/to/python" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	-sed -n 's/^\([a-z].*==[^ ]*\).*/\1/p' constraints.txt | sort -r | xargs -P 2 -n 16 $(INSTALL) --no-deps
	$(INSTALL) setuptools
	$(INSTALL) --no-build-isolation --editable '.[dev,docs,generate,serve,sweep,tensorboard]'
	$(COMPILE) || true
	@touch $@
