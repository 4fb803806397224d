# Two commands set everything up on a fresh machine: `make quickstart` and `make test`.
# Nothing outside this folder is touched but the package installer's own cache.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
RUN    := runs/quickstart

export MPLCONFIGDIR := $(CURDIR)/.cache/matplotlib
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: quickstart test test-lowest test-parity test-configs test-benchmarks test-processes test-faults test-wheel unit-tests test-pythons test-newest \
  gpu-wheels docs lint install-test clean

quickstart: $(BIN)/.core
	$(BIN)/python -m jaxtl.main --config configs/quickstart.py --workdir $(RUN)
	@echo "Open $(RUN)/report/index.html in a browser."

test: lint unit-tests

unit-tests: $(BIN)/.test
	$(BIN)/python -m pytest -n 2

# The same tests on each of these Pythons that is installed, in an environment of its own: .venv-3.12, .venv-3.13, …
PYTHONS ?= python3.11 python3.12 python3.13
# Where pyenv has several Pythons, all of them are found.
ALL_OF_PYENV := PYENV_VERSION=$$(pyenv versions --bare 2>/dev/null | sort -rV | paste -sd: -)

test-pythons:
	@export $(ALL_OF_PYENV); for python in $(PYTHONS); do \
	  if $$python --version >/dev/null 2>&1; then \
	    $(MAKE) unit-tests PYTHON=$$python VENV=.venv-$${python#python} || exit 1; \
	  else echo "$$python is not installed and was not tested."; fi; \
	done

test-newest:
	@export $(ALL_OF_PYENV); newest=; \
	for python in $(PYTHONS); do $$python --version >/dev/null 2>&1 && newest=$$python; done; \
	$(MAKE) test-pythons PYTHONS=$$newest

# What a machine with a GPU and without a network lacks, for Python 3.12 on x86-64: see benchmarks/README.md.
gpu-wheels:
	$(PYTHON) -m pip download --no-deps --only-binary=:all: --implementation cp --python-version 3.12 \
	  $(foreach version,2_28 2_27 2_24 2_17,--platform manylinux_$(version)_x86_64) --platform manylinux2014_x86_64 \
	  --dest wheels --requirement benchmarks/gpu/wheels.txt
	@du -sh wheels

install-test: $(BIN)/.test

# Every network of the zoo against torchvision's stored answers and at many sizes, real weights on real images: minutes.
test-parity: $(BIN)/.test
	$(BIN)/python -m pytest -n 2 -m parity tests/models tests/weights

# The configs that `make test` leaves out, and those whose networks it cuts to two layers a stage at full depth: minutes.
test-configs: $(BIN)/.test
	$(BIN)/python -m pytest -n 2 -m deep tests/test_config_runs.py

# What `make test` leaves out of runs in processes of their own: several at a time, killed again and again, started twice.
test-processes: $(BIN)/.test
	$(BIN)/python -m pytest -n 2 -m processes

# Hostile files, kills, odd folders, faults of the environment: the tables of docs/reliability.md, in build/reliability.md.
test-faults: $(BIN)/.test
	mkdir -p build && $(BIN)/python -m tests.faults --out build/reliability.md

# Benchmarks of a step or two: what they print means nothing, but they must run.
test-benchmarks: $(BIN)/.test
	$(BIN)/python -m pytest -n 2 -m bench tests/benchmarks

# What a user without a clone gets: the wheel in an empty environment, from another directory.
test-wheel:
	rm -rf build/wheel && mkdir -p build/wheel/elsewhere
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/python -m pip wheel --quiet --no-deps --wheel-dir build/wheel .
	build/wheel/venv/bin/python -m pip install --quiet build/wheel/jaxtl-*.whl
	cd build/wheel/elsewhere && ../venv/bin/jaxtl train quickstart --workdir quickstart && test -s quickstart/report/index.html

# Runs the blocks of README and the manual, in their order, and makes the manual a site, in build/site; a broken link is an
# error.
docs: $(BIN)/.test $(BIN)/.docs
	$(BIN)/python -m pytest -m pages
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

lint: $(BIN)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The same tests against the lowest versions that pyproject.toml claims, in an environment of their own.
test-lowest:
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet uv
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct -e ".[test]"
	.venv-lowest/bin/python -m pytest -n 2

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "jaxtl needs Python 3.11 or newer, but $(PYTHON) is %d.%d: run `make PYTHON=python3.12 ...`" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)

$(BIN)/.core: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(BIN)/.test: $(BIN)/.core
	$(BIN)/python -m pip install --quiet -e ".[test]"
	@touch $@

$(BIN)/.docs: $(BIN)/.core
	$(BIN)/python -m pip install --quiet -e ".[docs]"
	@touch $@

clean:
	rm -rf .venv .venv-* wheels .cache .mypy_cache .pytest_cache .ruff_cache build *.egg-info
