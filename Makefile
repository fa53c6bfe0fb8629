# make demo     the whole product on embedded data         make test     the whole test suite
# make smoke    the same on its smallest size              make check    format, lint, types
# make faults   the tests of docs/reliability.md           make format   rewrites files as `check` wants them
# make gate     the smoke suite over three seeds, held to tests/golden/baseline.json; exit code 3 where it does not hold
# make accept   the same run; its numbers become the accepted ones of `gate` and of the golden test
# make bench    every script of tests/bench at a small size, about 10 minutes on two cores
# make example  docs/example/ anew: pages of runs/demo, pictures of its site, the verdict on runs/gate
# make lock     requirements.lock anew                     make clean    removes .venv, runs and build
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# What the gate computes: two floors, the zoo's own method, and one with prototypes; about 2.5 minutes.
GATED := random raw_pixels odc swav
GATE := runs/gate
BASELINE := tests/golden/baseline.json
EXAMPLE_SUITE ?= demo
EXAMPLE ?= runs/demo

.PHONY: demo smoke test faults golden gated gate accept bench lock example check format clean

demo: $(INSTALLED)
	$(BIN)/python -m zoo.run odc --all-benchmarks --engine local --jobs 2

smoke: $(INSTALLED)
	$(BIN)/python -m zoo.run odc --all-benchmarks --suite smoke

test: $(INSTALLED)
	$(BIN)/python -m pytest

faults: $(INSTALLED)
	$(BIN)/python -m pytest -m case

# The number of threads decides the order of additions. Older records are no evidence of the code as it is now.
gated accept gate: export OMP_NUM_THREADS = 1
gated: $(INSTALLED)
	rm -rf $(GATE)
	$(BIN)/python -m zoo.run $(GATED) --all-benchmarks --suite smoke --seeds 0-2 --out $(GATE)

gate: gated
	$(BIN)/python -m zoo gate --baseline $(BASELINE) --suite smoke --out $(GATE) --junit $(GATE)/gate.xml

accept: gated
	$(BIN)/python -m zoo gate --baseline $(BASELINE) --suite smoke --out $(GATE) --accept
	$(BIN)/python -m tests.golden $(GATE)

golden: accept

bench: $(INSTALLED)
	$(BIN)/python -m tests.bench

lock: $(INSTALLED)
	$(BIN)/python -m tests.lock

example: $(INSTALLED)
	$(BIN)/python examples/example.py --suite $(EXAMPLE_SUITE) --home $(EXAMPLE) --gate $(GATE) --baseline $(BASELINE)

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,hub,tensorboard,timm]'
	touch $@

clean:
	rm -rf $(VENV) runs build *.egg-info
