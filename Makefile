# make demo     install into .venv, distil and prune a small student, show table and pictures
# make test     every check, as .ci/run does
# make notebooks ALL=1   run the notebooks with their test cells too, which `make test` leaves to pytest
# make prepare  after editing notebooks: clean, export, write tests and README
# make check    would `make prepare` change anything? are imports, sizes of cells and the README's figures in order?
# make docs     the documentation site, into _docs/: pages of the notebooks, every public name, search; readable offline
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
# skipped by nbdev_test unless asked for: what pytest runs
FLAGS = $(if $(ALL),--flags test)
# one thread a worker: two workers on two cores would otherwise wait for each other
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
ifneq ($(wildcard ../shared/real),)
export STEREO_KD_REAL ?= $(abspath ../shared/real)
endif
export JUPYTER_PREFER_ENV_PATH := 1
unexport PYTHONPATH

.PHONY: help install demo test check notebooks pytest prepare docs lab hooks clean distclean

help:
	@sed -n 's/^# make/make/p' Makefile

install: $(STAMP)

# requirements.lock holds the versions tested together on Python 3.11; other Pythons take the ranges of settings.ini.
# uv installs in a fraction of pip's time, from the indexes that pip is configured for; where it cannot, pip does it
PIP_SAYS = $(BIN)/pip config list | sed -n "s/^[^.]*\.$(1)='\(.*\)'$$/\1/p" | head -n 1 | sed 's/\\n/ /g; s/^ *//'
$(STAMP): settings.ini setup.py requirements.lock
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	@echo "installing into .venv: 6.6 GB, one to five minutes the first time"
	@export PIP_DISABLE_PIP_VERSION_CHECK=1; \
	lock=$$($(BIN)/python -c "import sys; print('-c requirements.lock' if sys.version_info[:2]==(3,11) else '')"); \
	index=$$($(call PIP_SAYS,index-url)); more=$$($(call PIP_SAYS,extra-index-url)); \
	links=$$($(call PIP_SAYS,find-links)); cert=$$($(call PIP_SAYS,cert)); \
	export UV_INDEX_STRATEGY=unsafe-best-match $${index:+UV_DEFAULT_INDEX="$$index"} $${more:+UV_INDEX="$$more"} \
	  $${links:+UV_FIND_LINKS="$${links// /,}"} $${cert:+SSL_CERT_FILE="$$cert"}; \
	if $(BIN)/pip install --quiet uv 2>/dev/null && $(BIN)/uv pip install --python $(BIN)/python $$lock -e '.[dev]'; then :; \
	else echo "uv cannot install here; pip takes longer"; $(BIN)/pip install --progress-bar on $$lock -e '.[dev]'; fi
	@touch $@

# what the notebook prints appears as it runs
demo: $(STAMP)
	@mkdir -p $(DEMO)
	@echo "running nbs/exp_dtp.ipynb: two students learn, one of them with a teacher, which is then pruned"
	@$(BIN)/papermill nbs/exp_dtp.ipynb $(DEMO)/exp_dtp.ipynb --cwd nbs -k python3 -p run_dir $(DEMO) \
	  --progress-bar --stdout-file - --log-level WARNING
	@printf '\nexecuted notebook: %s\n' data/runs/demo/exp_dtp.ipynb
	@find data/runs/demo -name '*.png' | sort | sed 's/^/picture: /'
	@printf 'table: %s\n\n' data/runs/demo/table.txt
	@cat $(DEMO)/table.txt
	@printf '\nnext, on a rectified pair of your own: .venv/bin/stereo_predict LEFT RIGHT -o out.png\n'

test: check docs notebooks pytest

# Generate everything again in a copy of the tree and compare: the work tree stays as it is
check: $(STAMP)
	@set -eu; bad=0; tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	cp -R nbs stereo_kd tests settings.ini setup.py README.md "$$tmp"; \
	find "$$tmp/stereo_kd" -name '*.py' -delete; \
	(cd "$$tmp"; $(BIN)/nbdev_clean; $(BIN)/nbdev_export; PYTHONPATH="$$tmp" $(BIN)/stereo_kd_prepare); \
	PYTHONPATH="$$tmp" $(BIN)/stereo_kd_prepare --check || bad=1; \
	same() { diff -ru -x __pycache__ -x .ipynb_checkpoints -x .last_checked "$$1" "$$tmp/$$1" > "$$tmp/diff" && return; \
	  head -60 "$$tmp/diff"; echo "FAILED: $$2 (run make prepare)"; bad=1; }; \
	same nbs "a notebook is not clean"; \
	same stereo_kd "stereo_kd/ is not what the notebooks export; a module without a notebook must be deleted by hand"; \
	same tests "tests/ is not what the notebooks export"; \
	same README.md "README.md is not what nbs/index.ipynb gives"; \
	test $$bad = 0; \
	echo "check: notebooks are clean; stereo_kd/, tests/ and README.md are in sync"

# Every notebook runs, exp_ notebooks with the smoke preset; test cells are left to pytest, so that each runs once
notebooks: $(STAMP) | check
	@echo "nbdev_test: running the notebooks"
	@$(ONE_THREAD) $(BIN)/nbdev_test --n_workers $(WORKERS) --timing $(FLAGS)

pytest: $(STAMP) | check notebooks
	@echo "pytest: tests that take times or set threads, alone; then the others on $(WORKERS) workers"
	@$(BIN)/python -m pytest -q tests -m serial
	@$(ONE_THREAD) $(BIN)/python -m pytest -q tests -m 'not serial' -n $(WORKERS) --dist worksteal --durations=5 --durations-min=1

prepare: $(STAMP)
	@$(BIN)/nbdev_clean
	@$(BIN)/nbdev_export
	@PYTHONPATH=$(CURDIR) $(BIN)/stereo_kd_prepare

# from the notebooks as they are: nothing is executed; a dead link or a public name without an entry is an error
docs: $(STAMP)
	@PYTHONPATH=$(CURDIR) $(ONE_THREAD) $(BIN)/stereo_kd_docs

lab: $(STAMP)
	@$(BIN)/jupyter lab --notebook-dir nbs

hooks: $(STAMP)
	@$(BIN)/nbdev_install_hooks

clean:
	@rm -rf data/runs/demo _docs build dist .pytest_cache
	@find . -path ./.venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -print0 | xargs -0 rm -rf

distclean: clean
	@rm -rf .venv
