# Everything here installs what it needs into .venv first.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
GPU    := .venv-gpu
TEXT   ?=
GOLDEN ?=
FUZZ   ?= 300
CHAOS  ?=
SOAK   ?=
MUTANTS ?=
MOSES  ?=
GPU_CHECK ?=
BEGINNINGS ?=
OFFLINE ?=
BUNDLE ?= build/demo/bundle
RUN    ?= runs/best

.DEFAULT_GOAL := help
.PHONY: help demo test test-all mutants interleavings golden fuzz losses screenshot lint format structure proto \
	bench-engine bench-offline bench-training bench-corpus bench-beginnings bench-moses bench-profile \
	bench-server bench-series bench-overload chaos soak gpu-check constraints clean

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
	@$(BIN)/python -m tools.demo $(if $(TEXT),"$(TEXT)")

# About as many processes as cores share the tests: threads beside them would only wait for each other. What is
# compiled is kept, even where the environment forbids it: each of the many processes would compile it anew.
TESTS := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --maxprocesses 4

test: $(VENV)/.installed ## Run the tests (minutes)
	$(TESTS) -m "not slow" --dist worksteal

test-all: $(VENV)/.installed-bench ## Run the slower end-to-end tests, with foreign tools that it installs
	tools/install-foreign.sh
	CHARLOOM_TEST_ALL=1 $(TESTS) -m slow --dist loadgroup

mutants: $(VENV)/.installed ## Break the heart of the product on purpose, a line at a time: do the tests see it? (MUTANTS=--help)
	@$(BIN)/python -m tools.mutants $(MUTANTS)

interleavings: $(VENV)/.installed ## Run 10,000 random interleavings of streams in each precision and of records (half an hour)
	@for scene in float32 int8 records; do \
		CHARLOOM_INTERLEAVINGS=0:10000 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -s \
			tests/serving/test_interleavings.py -k $$scene & pids="$$pids $$!"; \
	done; for pid in $$pids; do wait $$pid || failed=1; done; test -z "$$failed"

golden: $(VENV)/.installed ## Record what the golden bundles generate on this machine (GOLDEN=--help says more)
	@$(BIN)/python -m tools.golden $(GOLDEN)

fuzz: $(VENV)/.installed ## Break requests, state tokens, bundles and vocabularies at random, for FUZZ=300 seconds
	CHARLOOM_FUZZ=$(FUZZ) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --timeout 0 tests/fuzz

losses: $(VENV)/.installed ## Draw docs/losses.svg anew (RUN=path of a run's folder)
	@$(BIN)/python -m tools.losses $(RUN)

screenshot: $(VENV)/.installed ## Draw docs/write.svg anew (BUNDLE=path, by default that of the demo)
	@$(BIN)/python -m tools.screenshot $(BUNDLE)

lint: $(VENV)/.installed ## Check style, types and the imports between packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed ## Bring the code into its style
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

structure: $(VENV)/.installed ## Write the table of files in docs/structure.md anew
	@$(BIN)/python -m tools.structure

proto: $(VENV)/.installed ## Generate the stubs anew from proto/
	$(BIN)/python tools/proto.py

$(VENV)/.installed-bench: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	@touch $@

bench-engine: $(VENV)/.installed-bench ## Measure the bare engine, beside other ways to run the same model, and large vocabularies
	@$(BIN)/python -m benchmarks.engine
	@$(BIN)/python -m benchmarks.vocabularies

bench-offline: $(VENV)/.installed ## Measure how fast records are delivered, beside bare bursts (OFFLINE=--help says more)
	@$(BIN)/python -m benchmarks.offline $(OFFLINE)

bench-training: $(VENV)/.installed ## Measure training, beside the bare steps of the same network
	@$(BIN)/python -m benchmarks.training

bench-corpus: $(VENV)/.installed ## Measure how fast a text becomes token ids (a minute)
	@$(BIN)/python -m benchmarks.corpus

bench-beginnings: $(VENV)/.installed ## Train on TEXT=path, and see whether new texts begin where its lines do (BEGINNINGS="--cells 128")
	@$(BIN)/python -m benchmarks.beginnings $(if $(TEXT),"$(TEXT)") $(BEGINNINGS)

$(VENV)/.installed-moses: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,moses]'
	@touch $@

bench-moses: $(VENV)/.installed-moses ## Train on the molecules of MOSES and judge those that are generated (an hour and a half)
	@$(BIN)/python -m benchmarks.moses $(MOSES)

bench-profile: $(VENV)/.installed ## Show where the time of a burst goes, by operator
	@$(BIN)/python -m benchmarks.profile

bench-series: $(VENV)/.installed ## Measure a series of texts from a server, beside the same from the bundle (two minutes)
	@$(BIN)/python -m benchmarks.series

bench-server: $(VENV)/.installed ## Measure the server, with clients on the same machine (a quarter of an hour)
	tools/install-foreign.sh
	$(BIN)/python -m benchmarks.server

bench-overload: $(VENV)/.installed ## Measure what a flood of users does to a full server (a minute)
	@$(BIN)/python -m benchmarks.overload

chaos: $(VENV)/.installed ## Kill servers and cut connections under 500 streams; compare every text (CHAOS=--help says more)
	@$(BIN)/python -m chaos.main $(CHAOS)

soak: $(VENV)/.installed ## Load a server for an hour, and see whether it keeps anything (SOAK="--minutes 5")
	@$(BIN)/python -m chaos.soak $(SOAK)

$(GPU)/.installed: pyproject.toml constraints.txt
	@test -x $(GPU)/bin/python || $(PYTHON) -m venv $(GPU)
	@$(GPU)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-e '.[export-common,serve-gpu]'
	@touch $@

gpu-check: $(GPU)/.installed ## On a machine with an NVIDIA GPU: train, export, serve on it (GPU_CHECK="--text FILE" says more)
	$(GPU)/bin/python -m tools.gpu_check $(GPU_CHECK)

constraints: ## Write constraints.txt anew from a fresh environment
	tools/constraints.sh

clean: ## Remove the environment and everything made
	rm -rf $(VENV) $(GPU) .tools tests/e2e/node/node_modules build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
