# make demo     install into .venv, distil and prune a small student, show table and pictures
# make test     every check, as .ci/run does
# make prepare  after editing notebooks: clean, export, write tests and README
# make check    would `make prepare` change anything?
# make lab      JupyterLab on the notebooks
# make hooks    nbdev's git and Jupyter hooks, once per clone (writes ~/.jupyter and .git/config)
# make clean    drop the demo run and caches;  make distclean drops .venv too
SHELL := bash
.DEFAULT_GOAL := help

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.10 python3; do $$p -c "" 2>/dev/null && echo $$p && break; done)
BIN := $(CURDIR)/.venv/bin
STAMP := .venv/.installed
DEMO := $(CURDIR)/data/runs/demo
WORKERS ?= 2
# one thread a worker: two workers on two cores would otherwise wait for each other
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
ifneq ($(wildcard ../shared/real),)
export STEREO_KD_REAL ?= $(abspath ../shared/real)
endif
export PYTHONDONTWRITEBYTECODE := 1
export JUPYTER_PREFER_ENV_PATH := 1
unexport PYTHONPATH

.PHONY: help install demo test check notebooks pytest prepare lab hooks clean distclean

help:
	@sed -n 's/^# make/make/p' Makefile

install: $(STAMP)

# requirements.lock holds the versions tested together on Python 3.11; other Pythons take the ranges of settings.ini
$(STAMP): settings.ini setup.py requirements.lock
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	@echo "installing into .venv (a few minutes the first time)"
	@lock=$$($(BIN)/python -c "import sys; print('-c requirements.lock' if sys.version_info[:2]==(3,11) else '')") && \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $$lock -e '.[dev]'
	@touch $@

demo: $(STAMP)
	@mkdir -p $(DEMO)
	$(BIN)/papermill nbs/exp_dtp.ipynb $(DEMO)/exp_dtp.ipynb --cwd nbs -k python3 -p run_dir $(DEMO)
	@printf '\nexecuted notebook: %s\n' data/runs/demo/exp_dtp.ipynb
	@find data/runs/demo -name '*.png' | sort | sed 's/^/picture: /'
	@printf 'table: %s\n\n' data/runs/demo/table.txt
	@cat $(DEMO)/table.txt

test: check notebooks pytest

# Generate everything again in a copy of the tree and compare: the work tree stays as it is
check: $(STAMP)
	@set -eu; tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	cp -R nbs stereo_kd tests settings.ini setup.py README.md "$$tmp"; \
	find "$$tmp/stereo_kd" -name '*.py' -delete; \
	(cd "$$tmp"; $(BIN)/nbdev_clean; $(BIN)/nbdev_export; PYTHONPATH="$$tmp" $(BIN)/stereo_kd_prepare); \
	bad=0; \
	same() { diff -ru -x __pycache__ -x .ipynb_checkpoints -x .last_checked "$$1" "$$tmp/$$1" > "$$tmp/diff" && return; \
	  head -60 "$$tmp/diff"; echo "FAILED: $$2 (run make prepare)"; bad=1; }; \
	same nbs "a notebook is not clean"; \
	same stereo_kd "stereo_kd/ is not what the notebooks export; a module without a notebook must be deleted by hand"; \
	same tests "tests/ is not what the notebooks export"; \
	same README.md "README.md is not what nbs/index.ipynb gives"; \
	test $$bad = 0; \
	echo "check: notebooks are clean; stereo_kd/, tests/ and README.md are in sync"

# Every notebook runs; cells marked slow, cuda or data are left to pytest, exp_ notebooks take the smoke preset
notebooks: $(STAMP) | check
	@echo "nbdev_test: running the notebooks"
	@$(ONE_THREAD) $(BIN)/nbdev_test --n_workers $(WORKERS) --timing

pytest: $(STAMP) | check notebooks
	@$(BIN)/python -m pytest -q tests --durations=5 --durations-min=1

prepare: $(STAMP)
	@$(BIN)/nbdev_clean
	@$(BIN)/nbdev_export
	@PYTHONPATH=$(CURDIR) $(BIN)/stereo_kd_prepare

lab: $(STAMP)
	@$(BIN)/jupyter lab --notebook-dir nbs

hooks: $(STAMP)
	@$(BIN)/nbdev_install_hooks

clean:
	@rm -rf data/runs/demo build dist .pytest_cache
	@find . -path ./.venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -print0 | xargs -0 rm -rf

distclean: clean
	@rm -rf .venv
