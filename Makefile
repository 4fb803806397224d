# Two commands set everything up on a fresh machine: `make quickstart` and `make test`; `make` lists them all.
# Nothing outside this folder is touched but the package installer's own cache.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
RUN    := runs/quickstart
# Two workers. Each begins with half of the tests and takes from the other's half at the end, so that the tests of a file,
# which share fixtures and compiled programs, stay together.
WORKERS := -n 2 --dist worksteal
PYTEST  := $(BIN)/python -m pytest $(WORKERS)

export MPLCONFIGDIR := $(CURDIR)/.cache/matplotlib
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help quickstart test unit-tests lint test-slow test-parity test-configs test-processes test-pages test-benchmarks \
  test-faults test-wheel test-pythons test-newest test-lowest docs install-test gpu-wheels clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s  %s\n", $$1, $$2 }' Makefile

quickstart: $(BIN)/.core ## install jaxtl in .venv, and train a small network: a minute, no download
	$(BIN)/python -m jaxtl.main --config configs/quickstart.py --workdir $(RUN)
	@echo "Open $(RUN)/report/index.html in a browser."

test: lint unit-tests ## linter, type checker and tests: minutes

unit-tests: $(BIN)/.test ## the tests alone
	$(PYTEST)

lint: $(BIN)/.test ## linter and type checker alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-slow: $(BIN)/.test ## all tests that `make test` leaves out, those of the next five targets
	$(PYTEST) -m "parity or deep or processes or pages or bench"

test-parity: $(BIN)/.test ## every network against torchvision's stored answers, real weights on real images
	$(PYTEST) -m parity tests/models tests/weights

test-configs: $(BIN)/.test ## both recipes of every pretrained config, those of deep networks at full depth
	$(PYTEST) -m deep tests/test_config_runs.py

test-processes: $(BIN)/.test ## runs in processes of their own: several at a time, killed again and again, started twice
	$(PYTEST) -m processes

test-pages: $(BIN)/.test ## the blocks of README and the manual, and the notebooks
	$(PYTEST) -m pages tests/test_docs.py tests/test_notebooks.py

test-benchmarks: $(BIN)/.test ## each benchmark for a step or two: what it prints means nothing, but it must run
	$(PYTEST) -m bench tests/benchmarks

test-faults: $(BIN)/.test ## kills, hostile files, odd folders, faults of the environment: the tables of docs/reliability.md
	mkdir -p build && $(BIN)/python -m tests.faults --out build/reliability.md

test-wheel: ## what a user without a clone gets: the wheel in an empty environment, from another directory
	rm -rf build/wheel && mkdir -p build/wheel/elsewhere
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/python -m pip wheel --quiet --no-deps --wheel-dir build/wheel .
	build/wheel/venv/bin/python -m pip install --quiet build/wheel/jaxtl-*.whl
	cd build/wheel/elsewhere && ../venv/bin/jaxtl train quickstart --workdir quickstart && test -s quickstart/report/index.html

# The environments are .venv-3.12, .venv-3.13, …
PYTHONS ?= python3.11 python3.12 python3.13
# Where pyenv has several Pythons, all of them are found.
ALL_OF_PYENV := PYENV_VERSION=$$(pyenv versions --bare 2>/dev/null | sort -rV | paste -sd: -)

test-pythons: ## the tests on each of Python 3.11, 3.12 and 3.13 that is installed
	@export $(ALL_OF_PYENV); for python in $(PYTHONS); do \
	  if $$python --version >/dev/null 2>&1; then \
	    $(MAKE) unit-tests PYTHON=$$python VENV=.venv-$${python#python} || exit 1; \
	  else echo "$$python is not installed and was not tested."; fi; \
	done

test-newest: ## the tests on the newest of them
	@export $(ALL_OF_PYENV); newest=; \
	for python in $(PYTHONS); do $$python --version >/dev/null 2>&1 && newest=$$python; done; \
	$(MAKE) test-pythons PYTHONS=$$newest

test-lowest: ## the tests against the lowest versions that pyproject.toml allows
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet uv
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct -e ".[test]"
	.venv-lowest/bin/python -m pytest $(WORKERS)

docs: $(BIN)/.docs ## make the manual a site, in build/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

install-test: $(BIN)/.test ## install what the tests need, in .venv

gpu-wheels: ## fetch what a machine with a GPU and without a network lacks: see benchmarks/README.md
	$(PYTHON) -m pip download --no-deps --only-binary=:all: --implementation cp --python-version 3.12 \
	  $(foreach version,2_28 2_27 2_24 2_17,--platform manylinux_$(version)_x86_64) --platform manylinux2014_x86_64 \
	  --dest wheels --requirement benchmarks/gpu/wheels.txt
	@du -sh wheels

clean: ## remove the environments, caches and what was built
	rm -rf .venv .venv-* wheels .cache .mypy_cache .pytest_cache .ruff_cache build *.egg-info

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
