# Every target sets up .venv first when requirements.txt or pyproject.toml changed. Needs Python 3.11 or newer, nothing else.
PYTHON ?= python3
PY := .venv/bin/python
READY := .venv/.ready
UNIT_TESTS := -n 2 --dist loadfile
NOTEBOOK_TESTS := --nbval-lax --nbval-current-env --nbval-cell-timeout 600 --nbval-kernel-startup-timeout 120

.PHONY: run test test-full lint ablation saga-ablation bench gpu-check receipts page kaggle release wheel clean
.DEFAULT_GOAL := run

run: $(READY)  ## all notebooks on the embedded data, or some with what they need: make run NB=03, NB="03 05"
	@$(PY) -m emohelpers run $(NB) $(ARGS)

test: $(READY)  ## unit tests, then every notebook; results go to a fresh temporary folder (conftest.py)
	@OMP_NUM_THREADS=1 $(PY) -m pytest tests $(UNIT_TESTS) $(ARGS); units=$$?; \
	$(PY) -m pytest notebooks $(NOTEBOOK_TESTS) $(ARGS) && exit $$units

test-full: $(READY)  ## and all that is slow: the bundles of all notebooks too, with Kaggle's versions (VERSIONS=colab: Colab's; 8 GB in build/, once)
	@VERSIONS=$(VERSIONS) $(PY) -m pytest tests notebooks $(NOTEBOOK_TESTS) -m "slow or not slow" $(ARGS)

lint: $(READY)  ## style of modules and notebooks; notebooks stripped but for their receipts
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m emohelpers receipts --check

ablation: $(READY)  ## every variant of 04's recipe against it: make ablation, or RECIPE=enhanced ARGS="--set dataset_root=/data/affectnet"
	@$(PY) -m emohelpers ablation $(or $(RECIPE),transfer) $(ARGS)

saga-ablation: $(READY)  ## 03 with 0, 1/4, 1/2 and all of the edits and three seeds each, after 01 and 02; minutes on the demo, hours on a T4
	@$(PY) scripts/saga_ablation.py $(ARGS)

bench: $(READY)  ## speed beside what one would use instead; results in benchmarks/
	@for program in $(sort $(filter-out benchmarks/rounds.py,$(wildcard benchmarks/*.py))); do echo "$$program"; $(PY) $$program || exit 1; done

gpu-check: $(READY)  ## on a machine with a CUDA card: parity, half precision, speed, memory, two cards, as a block for an issue
	@$(PY) scripts/gpu_check.py $(ARGS)

receipts: $(READY)  ## execute notebooks and keep the outputs that nbval compares: the only way to change them
	@$(PY) -m emohelpers receipts $(NB)

page: $(READY)  ## outputs/index.html again, from what lies in outputs/
	@$(PY) -m emohelpers page

kaggle: $(READY)  ## dist/kaggle/: self-contained notebooks and how to push them: make kaggle KAGGLE_USER=me DATA=me/faces PARAM=EPOCHS=3 ARGS=--offline
	@$(PY) -m emohelpers bundle $(NB) $(if $(KAGGLE_USER),--user $(KAGGLE_USER)) \
	  $(if $(DATA),--param DATASET_ROOT=$(DATA)) $(foreach assignment,$(PARAM),--param $(assignment)) $(ARGS)

release: $(READY)  ## kaggle/ anew, committed and tagged as the version in emohelpers/__init__.py; nothing is pushed
	@$(PY) scripts/release.py $(ARGS)

wheel: $(READY)  ## dist/emohelpers-*.whl and its list with hashes, to be attached together as a data set on Kaggle
	@rm -f dist/emohelpers-*.whl
	@$(PY) -m pip wheel --disable-pip-version-check --quiet --no-deps --wheel-dir dist .
	@$(PY) -c "from emohelpers.suite.bundle import supplies; print(supplies.pinned('dist'))"
	@ls dist/*.whl

clean:  ## the set-up, caches and what `make run` wrote; runs with a name of yours stay
	rm -rf .venv build dist .pytest_cache .ruff_cache outputs/demo outputs/cache
	find emohelpers tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Install one and name it, for example: make run PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up .venv (once; a few minutes and about 6 GB, most of it PyTorch)"
	@$(PYTHON) -m venv .venv
	@$(PY) -m pip install --disable-pip-version-check --no-input --progress-bar off -r requirements.txt -e ".[dev]"
	@touch $@
