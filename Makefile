# make demo: the whole product on embedded data; make test: the whole test suite; make check: format, lint, types.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo smoke test golden check format clean

demo: $(INSTALLED)
	$(BIN)/python -m zoo.run odc --all-benchmarks

smoke: $(INSTALLED)
	$(BIN)/python -m zoo.run odc --all-benchmarks --suite smoke

test: $(INSTALLED)
	$(BIN)/python -m pytest

golden: export OMP_NUM_THREADS = 2
golden: smoke
	$(BIN)/python -m tests.golden runs/smoke

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,tensorboard]'
	touch $@

clean:
	rm -rf $(VENV) runs build *.egg-info
