## make run    the first experiment; options: make run ARGS="--seeds 3 --jobs 2"
## make test   lint, types, import contracts, tests
## Both make .venv first, when it is missing or when pyproject.toml or constraints.txt have changed.

PYTHON ?= python3
# Also for what pip builds with.
export PIP_CONSTRAINT := constraints.txt
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: help run test

help:
	@sed -n 's/^## //p' Makefile

run: $(VENV)/.installed
	$(BIN)/cl-bnn run split_mnist --strategy bayesbinn $(ARGS)

test: $(VENV)/.installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n auto --dist loadfile

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# One pip command for everything: torchvision demands its own torch, and a second command would
# replace the pinned one.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -c constraints.txt -e '.[test]'
	@touch $@ $(VENV)/.installed
