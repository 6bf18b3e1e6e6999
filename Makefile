# make train: set up and train the default experiment; make test: set up and run the tests.
PYTHON ?= python3
DENOISELAB_DATA ?= $(wildcard $(abspath ../shared/data))
VENV := .venv
RUN := $(VENV)/bin
PEERS := .peers

.PHONY: install train test test-all lint format bench clean

install: $(VENV)/.installed

train: install
	$(RUN)/denoiselab train

test: $(VENV)/.tested
	$(RUN)/ruff check . && $(RUN)/ruff format --check .
	$(if $(DENOISELAB_DATA),DENOISELAB_DATA=$(DENOISELAB_DATA)) $(RUN)/pytest -n 2 -m "not slow"

test-all: $(VENV)/.tested
	$(if $(DENOISELAB_DATA),DENOISELAB_DATA=$(DENOISELAB_DATA)) $(RUN)/pytest -n 2

lint: $(VENV)/.tested
	$(RUN)/ruff check . && $(RUN)/ruff format --check .

format: $(VENV)/.tested
	$(RUN)/ruff check --fix . && $(RUN)/ruff format .

bench: $(VENV)/.tested $(PEERS)/.installed
	$(RUN)/python benchmarks/overhead.py
	PYTHONPATH=$(PEERS) $(RUN)/python benchmarks/diffusion.py
	$(RUN)/python benchmarks/text_corruption.py
	$(RUN)/python benchmarks/text_training.py
	$(RUN)/python benchmarks/compare.py

clean:
	rm -rf $(VENV) $(PEERS) build dist *.egg-info src/*.egg-info .pytest_cache .ruff_cache .hypothesis

$(VENV)/.installed: pyproject.toml
	test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(RUN)/python -m pip install --quiet --disable-pip-version-check -e ".[test]"
	touch $@

# What ours is measured beside and no test needs; apart, and without what they depend on: that would replace ours.
$(PEERS)/.installed: $(VENV)/.installed
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(PEERS) "denoising-diffusion-pytorch>=2.2,<3" "einops>=0.8"
	touch $@
