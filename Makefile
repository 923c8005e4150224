# make demo | test | test-long | lint | docs | notebooks | clean
PYTHON ?= python3
BIN := .venv/bin
# two threads on cores that others use too wait for each other most of the time
export OMP_NUM_THREADS ?= 1
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo test test-long lint format docs notebooks clean

demo: .venv/installed
	rm -rf run/demo run/.demo.*.partial
	$(BIN)/geointerp demo --out run/demo

test: .venv/installed
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not long"

test-long: .venv/installed
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/installed
	$(BIN)/sphinx-build -q --keep-going -W -c docs . build/docs
	@echo build/docs/docs/index.html

notebooks: .venv/installed
	$(BIN)/jupyter-execute --inplace notebooks/*.ipynb

# torch first and alone: where a CPU build is offered, its version gets it
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	# compat: or Python, started beside a clone of this name, would import an empty folder
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--config-settings editable_mode=compat --editable ".[dev]"
	touch .venv/installed

clean:
	rm -rf .venv run build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
