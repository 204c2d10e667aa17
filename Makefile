# Everything below needs Python 3.11 or newer; the targets install the rest into .venv.

PYTHON ?= python3
WORKERS ?= 2
NOTEBOOKS ?=

RUN := .venv/bin/python -m
INSTALLED := .venv/.installed
CHECKS := lint format-check types tests notebooks-check

# Spinning threads cost a factor of 36 beside another busy process; one thread for each
# process also keeps the results apart from the number of cores.
export OMP_WAIT_POLICY := PASSIVE
export OMP_NUM_THREADS := 1

.PHONY: help book test test-browser test-slurm coverage pdf notebooks lock format clean $(CHECKS)
.NOTPARALLEL:

help: ## this list
	@echo "make book and make test are all a reader needs. Targets:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1	\2/p' $(firstword $(MAKEFILE_LIST)) | \
	  awk -F '\t' '{ printf "  %-16s %s\n", $$1, $$2 }'
	@echo "Variables: PYTHON=python3.12, WORKERS=4 (test processes), NOTEBOOKS=pi_net"

book: $(INSTALLED) ## rerun the notebooks, build the site and print where it is
	@.venv/bin/python book/build.py site

test: $(INSTALLED) ## all checks listed last, and which of them failed
	@failed=; for check in $(CHECKS); do \
	  echo "== $$check"; \
	  $(MAKE) --no-print-directory $$check || failed="$$failed $$check"; \
	done; \
	if [ -n "$$failed" ]; then echo "Failed:$$failed" >&2; exit 1; fi

test-browser: book ## look at every page of the built site in Chromium
	$(RUN) pytest -n $(WORKERS) -m browser tests/browser

test-slurm: $(INSTALLED) ## sweeps on a Slurm cluster of two nodes, started for it
	$(RUN) pytest -m slurm tests/test_slurm.py

# Not part of `make test`: tracing branches makes the suite 1.4 times as slow.
coverage: $(INSTALLED) ## the test suite once more, and which lines it does not reach
	$(RUN) pytest -n $(WORKERS) --dist loadfile --cov --cov-report=term

pdf: book ## print the built site with Chromium into one PDF
	@.venv/bin/python book/pdf.py

notebooks: $(INSTALLED) ## execute the committed notebooks in place (NOTEBOOKS=names)
	.venv/bin/python book/build.py execute $(NOTEBOOKS)

format: $(INSTALLED) ## format the code and repair what can be repaired
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

# A fresh environment, so that nothing that happens to be installed is written down.
lock: $(INSTALLED) ## resolve newer versions of everything but torch and torchvision
	rm -rf _build/lock
	$(PYTHON) -m venv _build/lock
	grep '^torch' requirements.lock > _build/lock/torch.txt
	_build/lock/bin/python -m pip install -c _build/lock/torch.txt -e '.[book,scale,test]'
	_build/lock/bin/python -m pip freeze --all --exclude-editable > _build/lock/all.txt
	grep '^appnope=' requirements.lock >> _build/lock/all.txt
	{ grep '^#' requirements.lock; sed 's/+.*//' _build/lock/all.txt | \
	  grep -v -E '^(pip=|nvidia|cuda|triton)' | LC_ALL=C sort -f; \
	} > _build/lock/requirements.lock
	mv _build/lock/requirements.lock requirements.lock

clean: ## remove everything that was built, but not .venv
	rm -rf _build book/_static/mathjax book/models book/models.* .coverage
	rm -rf book/reference book/reference.md
	rm -rf book/results_status* book/downloads book/downloads.md book/findings.md
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis

lint: $(INSTALLED) ## check: ruff's rules, and the spelling
	$(RUN) ruff check .
	$(RUN) codespell_lib *.md *.toml .github benchmarks book notebooks src tests

format-check: $(INSTALLED) ## check: ruff's format
	$(RUN) ruff format --check .

types: $(INSTALLED) ## check: mypy
	$(RUN) mypy

tests: $(INSTALLED) ## check: the test suite
	$(RUN) pytest -n $(WORKERS) --dist loadfile

notebooks-check: $(INSTALLED) ## check: every notebook's outputs are what it gives now
	.venv/bin/python book/build.py check --workers $(WORKERS) $(NOTEBOOKS)

$(INSTALLED): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "$(PYTHON) is not Python 3.11 or newer: name one, for example with" \
	    "make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(RUN) pip install -c requirements.lock -e '.[book,scale,test]'
	@touch $@
