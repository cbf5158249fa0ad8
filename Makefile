# make demo | test | check | plugin | clean. Needs python3 (3.11 or newer) with pip and venv; pip's own settings apply.
PYTHON ?= python3
ARGS ?=
VENV := .venv
READY := $(VENV)/.ready
BEGUN := $(VENV)/.begun

export NO_ALBUMENTATIONS_UPDATE = 1
# A process a core and one thread each, up to 4; who has done its tests takes half of those another has left.
SPREAD := -n auto --maxprocesses 4 --dist worksteal

.PHONY: demo test check plugin clean

demo: $(READY)
	$(VENV)/bin/satae demo $(ARGS)

test: $(READY)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest $(SPREAD) $(ARGS)

check: $(READY)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy satae benchmarks/*.py

plugin:
	$(PYTHON) scripts/pack_plugin.py $(ARGS)

# BEGUN becomes READY when all is installed. Where it is still there, an install was cut short: start over.
$(READY): pyproject.toml constraints.txt
	if [ -e $(BEGUN) ]; then rm -rf $(VENV); fi
	mkdir -p $(VENV)
	touch $(BEGUN)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -c constraints.txt -e '.[dev]'
	touch $(BEGUN)
	mv $(BEGUN) $@

# the environment stays; remove it with rm -rf .venv
clean:
	rm -rf build dist satae-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find satae tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
