# Two commands matter: `make run` and `make test`. Both make the environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DATA ?=
ARGUMENTS ?=
GIVEN := $(if $(DATA),--data "$(DATA)",) $(ARGUMENTS)

.PHONY: help setup run run-once down doctor test test-all extras peers golden lint format types imports lock clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## the environment, .venv, from requirements.lock

$(STAMP): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar off -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

run: setup ## services and the nano pipeline (DATA=<folder> for real dumps, ARGUMENTS="--set ..."); Ctrl-C ends both
	@$(BIN)/arriero run --preset nano $(GIVEN)

run-once: setup ## the same without a terminal: ends with the pipeline's status, leaves nothing running
	@$(BIN)/arriero run --preset nano $(GIVEN) --once

down: ## stop services that a killed run left behind
	@$(BIN)/arriero down

doctor: setup ## check the installation
	@$(BIN)/arriero doctor

test: setup lint types imports ## the test suite (README's test command)
	$(BIN)/python -m pytest -m "not slow and not faults and not gpu and not quality and not ray"

test-all: setup lint types imports extras ## adds the slow tests, the faults and those of the extras
	ARRIERO_KENLM_BIN="$(CURDIR)/$(VENV)/kenlm/bin" $(BIN)/python -m pytest -m "not gpu"

extras: setup $(VENV)/.extras ## Ray, KenLM and its lmplz (needs a C++ compiler, cmake and Boost)

$(VENV)/.extras: pyproject.toml deploy/build_lmplz.sh
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar off "kenlm>=0.3,<0.4" "ray>=2.50"
	bash deploy/build_lmplz.sh $(VENV)/kenlm
	@touch $@

peers: .peers/.installed ## the programs that benchmarks/ compares with, in an environment of their own

.peers/.installed: benchmarks/peers.txt
	@test -x .peers/bin/python || $(PYTHON) -m venv .peers
	.peers/bin/python -m pip install --quiet --disable-pip-version-check --progress-bar off -r benchmarks/peers.txt
	@touch $@

golden: setup ## write tests/golden/digests.json anew, after a stage's output was changed on purpose
	$(BIN)/python -m tests.golden.regenerate

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup ## rewrite to the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: setup
	$(BIN)/mypy -p flows -p tasks -p model -p registry -p dashboards

imports: setup
	$(BIN)/lint-imports

lock: setup ## write requirements.lock from the environment as it stands
	$(BIN)/python -m pip freeze --all --exclude-editable | sed -E 's/\+cpu//' | grep -v -E '^(pip|wheel|kenlm|ray)=' > requirements.lock

clean: ## stop the services, remove state and caches (not the environment)
	@if test -e .arriero/stack.json && test -x $(BIN)/arriero; then ARRIERO_HOME="$(CURDIR)/.arriero" $(BIN)/arriero down; fi
	rm -rf .arriero .pytest_cache .mypy_cache .ruff_cache
