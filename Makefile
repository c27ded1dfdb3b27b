# Needs make and Python 3.11 or newer; everything else goes into .venv. PYTHON=... selects another interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLIENT := tests/convos_client
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Each of the hundreds of processes that the tests start would compile all of backchat again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test lint style types layers compiled libcurl soak bench peers clean

help:
	@echo "make run      start the server (http://127.0.0.1:8080); the first start prints a key; ARGS=... adds options"
	@echo "make test     lint, then all tests"
	@echo "make lint     ruff, mypy and the import rules"
	@echo "make soak     kill the server again and again, and see that nothing is lost, or booked wrongly"
	@echo "make bench    measure"
	@echo "make peers    try the providers against real servers of their protocols"
	@echo "make clean    remove the virtualenv and what tools leave behind"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "backchat needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	-$(BIN)/python -m pip install --quiet --upgrade pip  # that of Python 3.11 takes twice as long for all the rest

# A stamp for each set of requirements: installed again only when what is required has changed.
$(VENV)/.installed: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[documents]'
	@touch $@

$(VENV)/.installed-dev: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.installed

run: $(VENV)/.installed
	@exec $(BIN)/backchat serve $(ARGS)

lint: $(VENV)/.installed-dev
	@$(MAKE) --no-print-directory -j 2 types style layers

style:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

layers:
	$(BIN)/lint-imports

# Once, beside mypy, and not by every process of the tests at their start. What is wrong there, the tests will say.
compiled:
	@$(BIN)/pytest --collect-only --quiet >/dev/null 2>&1 || true

# What the tests of LibreChat's client layer need. Without npm they are skipped, and say so.
$(CLIENT)/node_modules/.installed: $(CLIENT)/package-lock.json
	@if command -v npm >/dev/null; then npm ci --silent --ignore-scripts --prefix $(CLIENT) && touch $@; \
		else echo "no npm: LibreChat's client is not tested"; fi

# What the mongod of the tests needs. Where it is missing and cannot be installed, those tests fail and say so.
libcurl:
	@ldconfig -p 2>/dev/null | grep -q 'libcurl\.so\.4 ' || { command -v apt-get >/dev/null && apt-get update --quiet \
		&& apt-get install --quiet --yes libcurl4; } || echo "no libcurl4: mongod may not start"

# Two at a time. pytest goes last: its closing line is the result.
test: $(VENV)/.installed-dev
	@$(MAKE) --no-print-directory -j 2 types style layers compiled libcurl $(CLIENT)/node_modules/.installed
	$(BIN)/pytest -n 2 --dist worksteal

soak: $(VENV)/.installed-dev
	$(BIN)/python -m bench.soak all
	BACKCHAT_SOAK=1 $(BIN)/pytest -n 2 --dist worksteal  # all that is made up, and every test on every storage

bench: $(VENV)/.installed-dev
	$(BIN)/python -m bench all

peers: $(VENV)/.installed-dev
	$(BIN)/python peers/run.py

clean:
	rm -rf $(VENV) $(CLIENT)/node_modules build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find backchat plugins tests bench peers -name __pycache__ -prune -exec rm -rf {} +
