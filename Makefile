# Two commands: `make demo` and `make test`. Both set up what is missing; only the first time needs the network.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup base demo test slow gpu lint clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "loragent needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 setup"; exit 1; }
	@echo "==> virtual environment in $(VENV)"
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { echo "install it with: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }
	@echo "==> packages (the first time, some minutes)"
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

# The base model: fetched, checked and converted once, then kept in LORAGENT_HOME (else the user's cache).
base: setup
	@$(BIN)/loragent doctor --fetch

demo: base
	@$(BIN)/loragent demo

lint: setup
	@echo "==> ruff, mypy --strict, import layers"
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

test: lint
	@echo "==> tests on a tiny random base"
	@OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4

slow: base
	@echo "==> tests on the real base"
	@OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -m slow

gpu: base
	@echo "==> tests on a CUDA device"
	@$(BIN)/python -m pytest -m gpu

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
