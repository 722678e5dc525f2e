# Everything here installs what it needs into .venv first.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
GPU    := .venv-gpu
TEXT   ?=
GOLDEN ?=
CHAOS  ?=
SOAK   ?=
BUNDLE ?= build/demo/bundle

.DEFAULT_GOAL := help
.PHONY: help demo test test-all interleavings golden screenshot lint format proto bench-engine bench-profile bench-server chaos soak gpu-check constraints clean

help: ## Say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Charloom needs Python 3.11 or newer; say which: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (a minute or more the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(VENV)/.installed ## Train, export, serve and stream, in about two minutes (TEXT=path for your own text)
	@$(BIN)/python tools/demo.py $(if $(TEXT),"$(TEXT)")

test: $(VENV)/.installed ## Run the tests (minutes)
	$(BIN)/python -m pytest -m "not slow"

test-all: $(VENV)/.installed-bench ## Run the slower end-to-end tests, with foreign tools that it installs
	tools/install-foreign.sh
	CHARLOOM_TEST_ALL=1 $(BIN)/python -m pytest -m slow

interleavings: $(VENV)/.installed ## Run 10,000 random interleavings of streams in each precision (a quarter of an hour)
	@for precision in float32 int8; do \
		CHARLOOM_INTERLEAVINGS=0:10000 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -s \
			tests/serving/test_interleavings.py -k $$precision & pids="$$pids $$!"; \
	done; for pid in $$pids; do wait $$pid || failed=1; done; test -z "$$failed"

golden: $(VENV)/.installed ## Record what the golden bundles generate on this machine (GOLDEN=--help says more)
	@$(BIN)/python -m tools.golden $(GOLDEN)

screenshot: $(VENV)/.installed ## Draw docs/write.svg anew (BUNDLE=path, by default that of the demo)
	@$(BIN)/python -m tools.screenshot $(BUNDLE)

lint: $(VENV)/.installed ## Check style, types and the walls between packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed ## Bring the code into its style
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

proto: $(VENV)/.installed ## Generate the stubs anew from proto/
	$(BIN)/python tools/proto.py

$(VENV)/.installed-bench: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	@touch $@

bench-engine: $(VENV)/.installed-bench ## Measure the bare engine, beside other ways to run the same model
	@$(BIN)/python -m benchmarks.engine

bench-profile: $(VENV)/.installed ## Show where the time of a burst goes, by operator
	@$(BIN)/python -m benchmarks.profile

bench-server: $(VENV)/.installed ## Measure the server, with clients on the same machine (a quarter of an hour)
	tools/install-foreign.sh
	$(BIN)/python -m benchmarks.server

chaos: $(VENV)/.installed ## Kill servers and cut connections under 500 streams; compare every text (CHAOS=--help says more)
	@$(BIN)/python -m chaos.main $(CHAOS)

soak: $(VENV)/.installed ## Load a server for an hour, and see whether it keeps anything (SOAK="--minutes 5")
	@$(BIN)/python -m chaos.soak $(SOAK)

$(GPU)/.installed: pyproject.toml constraints.txt
	@test -x $(GPU)/bin/python || $(PYTHON) -m venv $(GPU)
	@$(GPU)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-e '.[export-common,serve-gpu]'
	@touch $@

gpu-check: $(GPU)/.installed ## On a machine with an NVIDIA GPU: train, export, serve on it; compare with the CPU
	$(GPU)/bin/python tools/gpu_check.py

constraints: ## Write constraints.txt anew from a fresh environment
	tools/constraints.sh

clean: ## Remove the environment and everything made
	rm -rf $(VENV) $(GPU) .tools tests/e2e/node/node_modules build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
