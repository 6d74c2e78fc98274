# `make convert` and `make test` do all of their own set-up: a virtual environment, the install, the run.
# PYTHON, VENV, VIDEO and OUT may be given: make convert VIDEO=talk.mp4 OUT=talk.wav

VENV ?= .venv
BIN := $(VENV)/bin
VIDEO ?= lip2speech/pretrained/sample.mp4
OUT ?= out/$(basename $(notdir $(VIDEO))).wav

# The first Python that is 3.11 or 3.12; a name on the path may be a shim that does not run.
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(shell for p in python3.11 python3.12 python3 python; do \
	$$p -c '$(FITS)' >/dev/null 2>&1 && { echo $$p; break; }; done)

.PHONY: help convert test lint clean

help:
	@echo "make convert [VIDEO=talk.mp4] [OUT=talk.wav]   convert the bundled sample, or VIDEO"
	@echo "make test                                      run all tests (about 11 minutes on 2 cores)"
	@echo "make lint                                      ruff, mypy --strict, words and limits"
	@echo "make clean                                     remove the virtual environment and caches"

convert: $(VENV)/.run
	@mkdir -p "$(dir $(OUT))"
	$(BIN)/lip2speech convert "$(VIDEO)" -o "$(OUT)" --overwrite

test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --durations 10

lint: $(VENV)/.test
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/python tests/check_words.py && $(BIN)/python tests/check_limits.py

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "lip2speech needs Python 3.11 or 3.12; none was found. Give one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@$(check_system)
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@$(check_system)
	@touch $@ $(VENV)/.run

define check_system
$(BIN)/python -c 'import cv2' 2>/dev/null || { $(BIN)/python -c 'import cv2' 2>&1 | tail -n 1 >&2; \
	echo "A system library is missing. On Debian and Ubuntu: apt-get install libgl1 libglib2.0-0" >&2; exit 1; }
endef

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
