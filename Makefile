# Needs python3 (3.11 or newer, with venv), make and a Python package registry; everything else goes into .venv.
# `make PYTHON=python3.12 test` picks an interpreter; after changing it, run `make clean` first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --constraint constraints.txt

# Stamps: touched when a step is complete, so that a second call skips it and an interrupted one is repeated.
MADE := $(VENV)/.made
CORE := $(VENV)/.installed-core
DEV := $(VENV)/.installed-dev
PLUGINS := .venv-plugins/.installed
TOOLS := .venv-tools/.installed
TOOLBIN := .venv-tools/bin

.DEFAULT_GOAL := help
.PHONY: help demo claims claims-page test plugins lint docs matrix dist sbom lock scan install clean

help:
	@echo "make demo     a small run from start to report"
	@echo "make claims   every claim in a reduced form, with verdicts (at most half an hour on two cores)"
	@echo "FULL=1 make claims   everything (hours, said beforehand; goes on where it was stopped)"
	@echo "make claims-page     docs/claims.md from the published records"
	@echo "make test     lint, types and tests (what CI runs)"
	@echo "make plugins  the adapters' tests against the packages that they plug into (own environment, 2.5 GB)"
	@echo "make lint     ruff, mypy and the order of imports only"
	@echo "make matrix   a selection of tests on every Python from 3.11 to 3.13 that is here, lowest and highest versions (needs uv)"
	@echo "make dist     wheel and sdist in dist/; scripts/try_wheel.sh tries a wheel in an empty environment"
	@echo "make sbom     dist/sparring.cdx.json: what an installation of the pinned versions holds (CycloneDX)"
	@echo "make lock     constraints-hashed.txt: the core's pinned versions with the hashes of their files (needs uv)"
	@echo "make scan     known vulnerabilities in pinned versions (pip-audit), and bandit over the code"
	@echo "make docs     the documentation as a site, build/docs/index.html"
	@echo "make install  .venv with the development tools"
	@echo "make clean    removes .venv and caches; keeps runs/ and models/"

demo: $(CORE)
	$(BIN)/sparring demo

claims: $(CORE)
	HF_HUB_OFFLINE=1 $(BIN)/python benchmarks/run_claims.py $(if $(FULL),--full)

claims-page: $(CORE)
	$(BIN)/python benchmarks/run_claims.py --page

test: lint
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2

plugins: $(PLUGINS)
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 .venv-plugins/bin/python -m pytest tests/test_plugin_*.py

lint: $(DEV)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

docs: $(DEV)
	HF_HUB_OFFLINE=1 $(BIN)/python -m sphinx -c docs -b html -d build/doctrees -q -W --keep-going -n . build/docs

matrix:
	scripts/matrix.sh

dist: $(TOOLS)
	$(TOOLBIN)/python -m build --outdir dist .

sbom: $(TOOLS)
	@mkdir -p dist
	$(TOOLBIN)/cyclonedx-py requirements constraints.txt --pyproject pyproject.toml --output-reproducible --output-file dist/sparring.cdx.json

lock: $(TOOLS)
	$(TOOLBIN)/uv pip compile pyproject.toml --constraint constraints.txt --python-version 3.11 --generate-hashes \
		--no-annotate --custom-compile-command "make lock" --quiet --output-file constraints-hashed.txt

# pip-audit needs the network; bandit's low findings (asserts, seeded random numbers) are ruff's business.
scan: $(TOOLS)
	$(TOOLBIN)/bandit -q -ll -r src --skip B102,B615
	$(TOOLBIN)/pip-audit --disable-pip --no-deps --requirement constraints.txt

install: $(DEV)

clean:
	rm -rf $(VENV) .venv-plugins .venv-tools .matrix .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist src/*.egg-info
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(CORE): pyproject.toml constraints.txt | $(MADE)
	@echo "installing sparring into $(VENV) (the first time this takes minutes) ..."
	$(PIP) --editable .
	@touch $@

$(DEV): pyproject.toml constraints.txt | $(MADE)
	@echo "installing sparring with its development tools into $(VENV) (the first time this takes minutes) ..."
	$(PIP) --editable '.[dev]'
	@touch $(CORE) $@

# verl and OpenRLHF ask for a GPU's packages, which the classes that are tested do not need.
$(PLUGINS): pyproject.toml tests/plugins.txt | $(MADE)
	@echo "installing what the adapters plug into (the first time this takes minutes) ..."
	$(PYTHON) -m venv .venv-plugins
	.venv-plugins/bin/python -m pip --disable-pip-version-check install torch==2.13.0
	.venv-plugins/bin/python -m pip --disable-pip-version-check install --editable . --requirement tests/plugins.txt
	.venv-plugins/bin/python -m pip --disable-pip-version-check install --no-deps verl==0.9.1 openrlhf==0.11.2
	@touch $@

# Tools for releases, apart from what they build and scan.
$(TOOLS):
	$(PYTHON) -m venv .venv-tools
	$(TOOLBIN)/python -m pip --disable-pip-version-check install -q build uv pip-audit bandit cyclonedx-bom
	@touch $@

# Says what is missing before it makes the environment.
$(MADE):
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found; install Python 3.11 or newer, or name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1), Sparring needs 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "error: $(PYTHON) has no venv; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@
