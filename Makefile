# make app     install what a user needs and serve the workbench on http://localhost:8501
# make test    install what the tests need, get a Chromium, run the tests
# make coverage   the same, and say which part of kgmet's lines ran; fails below 92 %
# make soak    the tests that are too slow for every change; prints their figures as they come
# make check   lint, formatting, types: what CI runs before the tests
# make bench   the tables of README and docs; minutes, on an idle machine
# make profiles   calibrate the bundled models again: the profiles that ship with the program; an hour
# make docs    this documentation as a site, in site/; warnings are errors
# make docs-screenshots   the pictures of the README, and its film of 60 seconds
# The same without make: CONTRIBUTING.md.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV   ?= .venv
RUN    := $(VENV)/bin/python
APP    := $(VENV)/.app-installed
DEV    := $(VENV)/.dev-installed
TESTS  ?=
# Tests run side by side in this many processes, each computing on one core. Three keep two cores busy, because one often
# waits for a page; each takes up to 3 GB. 0: in one process, on two cores.
WORKERS ?= 3
PYTEST  := -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder
# One Chromium for every recipe that drives a browser. Without one the tests of a browser are skipped, but not in CI.
BROWSER = KGMET_CHROMIUM="$$($(RUN) scripts/get_chromium.py)"; status=$$?; \
	if [ $$status -ne 0 ] && [ "$${CI:-}" = "true" ]; then exit $$status; fi; export KGMET_CHROMIUM

export TOKENIZERS_PARALLELISM := false
# Bytecode is kept, or every process of the tests compiles them and the library again: 7 of its first 16 seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: app test coverage soak check bench profiles docs docs-screenshots clean
.DELETE_ON_ERROR:

app: $(APP)
	$(RUN) -m kgmet app

test: $(DEV)
	@$(BROWSER); exec $(RUN) $(PYTEST) $(TESTS)

coverage: $(DEV)
	@$(RUN) -m coverage erase
	@$(BROWSER); exec $(RUN) -m coverage run $(PYTEST) $(TESTS)
	@$(RUN) -m coverage combine --quiet
	@$(RUN) -m coverage report

soak: $(DEV)
	@$(BROWSER); KGMET_SOAK=1 exec $(RUN) -m pytest -m soak -v -s $(TESTS)

check: $(DEV)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

bench: $(DEV)
	@for script in benchmarks/[!_]*.py; do echo "== $$script"; PYTHONPATH=. $(RUN) "$$script" || exit 1; done

profiles: $(DEV)
	$(RUN) scripts/make_profiles.py

docs: $(DEV)
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build
	@echo "Open site/index.html; for its search: $(RUN) -m http.server --directory site"

docs-screenshots: $(DEV)
	KGMET_CHROMIUM="$$($(RUN) scripts/get_chromium.py)" $(RUN) scripts/screenshots.py
	KGMET_CHROMIUM="$$($(RUN) scripts/get_chromium.py)" $(RUN) scripts/recording.py

clean:
	rm -rf $(VENV) build dist site *.egg-info .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache

$(RUN):
	@test -n "$(PYTHON)" || { echo "No Python found. Install Python 3.11 and try again, or: make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	|| { echo "$(PYTHON) is $$($(PYTHON) --version); 3.11 or newer is needed: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(APP): requirements.txt requirements.lock | $(RUN)
	$(RUN) -m pip install --disable-pip-version-check --quiet -r requirements.txt
	@touch $@

# Tests run with exactly the locked versions, so that a failure is ours and not a new release's.
$(DEV): requirements.txt requirements-dev.txt requirements.lock | $(RUN)
	$(RUN) -m pip install --disable-pip-version-check --quiet -r requirements-dev.txt -c requirements.lock
	@touch $@ $(APP)
