# Two commands on a fresh machine: `make demo` runs the main job on real networks, `make test` passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_WORK := build/quickstart-work
DEMO := build/quickstart
CONFIDENCE := build/confidence

.PHONY: demo confidence-demo test test-all torture test-lowest lowest lock lint bench wheel docs docs-quickstart zoos clean

# A stamp file for each set of extras, so that nothing is installed twice.
$(VENV)/pip-is-new:
	$(PYTHON) -c 'import sys; sys.exit("FilterZoo needs Python 3.11 or newer; set PYTHON=python3.x") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

# Development and CI use the versions of requirements.lock. Users get the versions that pyproject.toml allows.
$(VENV)/has-%: $(VENV)/pip-is-new pyproject.toml requirements.lock
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable '.[$*]'
	touch $@

demo: $(VENV)/has-report
	mkdir -p build
	$(BIN)/python -m filterzoo.measures.compiled.kernels
	$(BIN)/filterzoo crawl manifests/quickstart.yaml --workdir $(DEMO_WORK)
	$(BIN)/filterzoo publish $(DEMO) --workdir $(DEMO_WORK)
	$(BIN)/filterzoo verify $(DEMO)
	$(BIN)/python -m filterzoo_analysis.overview $(DEMO) --picture build/quickstart.png
	@echo "A report, to open in a browser:"
	$(BIN)/filterzoo report $(DEMO) -o build/report

# Six pairs of normal and robust networks, trained on images from wheels. Needs only the package index.
confidence-demo: $(VENV)/has-demo
	$(BIN)/python -m filterzoo_evaluation.demo $(CONFIDENCE)
	$(BIN)/filterzoo confidence $(CONFIDENCE)/logits/*.parquet --workdir $(CONFIDENCE)-work
	$(BIN)/filterzoo crawl $(CONFIDENCE)/zoo.yaml --workdir $(CONFIDENCE)-work
	$(BIN)/filterzoo publish $(CONFIDENCE)-data --workdir $(CONFIDENCE)-work
	$(BIN)/filterzoo verify $(CONFIDENCE)-data
	@echo "A report, to open in a browser; its section is #confidence:"
	$(BIN)/filterzoo report $(CONFIDENCE)-data -o $(CONFIDENCE)-report

# Tiers are markers, explained in pyproject.toml: `test` runs what a change may break, `test-all` the rest.
# Sources are compiled once before, even if Python may not write bytecode later.
# Test files start in the order of tests/costs.txt, the longest first. There are one or two processes more than cores,
# because tests wait for disks, clocks and processes; those of `test-all` wait longer.
CORES := $(shell $(PYTHON) -c 'import os; print(os.cpu_count() or 1)')
PYTEST := $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder --durations 5 --durations-min 10

test: $(VENV)/has-test
	$(BIN)/python -m compileall -q crawler plugins publish analysis evaluation
	$(PYTEST) -n $$(( $(CORES) + 1 )) -m 'not (slow or index or cluster or torture)'

test-all: $(VENV)/has-test $(VENV)/has-cluster
	$(BIN)/python -m compileall -q crawler plugins publish analysis evaluation
	$(PYTEST) -n $$(( $(CORES) + 2 )) -m '(slow or index or cluster) and not torture'

# 200,000 mutated files; kills, faults and power cuts (docs/reliability.md), reproducible by FILTERZOO_FAULTS_SEED.
# Needs a C compiler. FILTERZOO_FAULTS_STRIDE=1 tries every fault at every call. All tests of a command run in one process.
torture: $(VENV)/has-test
	$(BIN)/python -m pytest -n logical --dist loadgroup -m torture

# A single file for all Pythons and platforms. Run it after changing dependencies in pyproject.toml, or for newer versions.
RESOLVE := $(BIN)/uv pip compile --quiet pyproject.toml --all-extras --no-annotate
lock: $(VENV)/has-dev
	$(RESOLVE) --universal --python-version 3.11 --upgrade --output-file requirements.lock --custom-compile-command 'make lock'

# Checks that the lowest versions that pyproject.toml allows can be installed together. `make test-lowest` runs a part of the
# tests with the lowest versions of what crawl, publish and report need. It leaves out torch, timm and the libraries for NVIDIA
# GPUs (4 GB), which these tests do not load (two tests that compare with torch are deselected). Deprecation warnings of old
# versions are no errors here.
lowest: $(VENV)/has-dev
	mkdir -p build
	$(RESOLVE) --python-version 3.11 --resolution lowest-direct --output-file build/lowest.txt

LOWEST := build/lowest/bin/python
# The lowest supported Python if it is installed, else that of $(VENV).
LOWEST_PYTHON := $(BIN)/uv python find --no-python-downloads 3.11 2>/dev/null || echo $(BIN)/python
LOWEST_TOOLS := pytest pytest-timeout pytest-xdist hypothesis psutil starlette uvicorn
LOWEST_TESTS := tests/crawler/manifests tests/crawler/dataset/test_loading.py tests/crawler/store/test_journal.py \
  tests/plugins/formats/test_safetensors.py tests/plugins/formats/test_numpy.py tests/publish/verify/test_verify.py \
  --deselect tests/plugins/formats/test_safetensors.py::test_bfloat16_and_float8_come_back_bit_for_bit \
  --deselect tests/plugins/formats/test_safetensors.py::test_a_tied_name_that_only_the_metadata_has

test-lowest: lowest
	$(BIN)/uv pip compile --quiet pyproject.toml --extra report --no-annotate --python-version 3.11 --resolution lowest-direct --output-file build/lowest-core.txt
	grep -vE '^(torch|torchvision|timm|triton|nvidia-[a-z0-9-]+)==' build/lowest-core.txt > build/lowest-light.txt
	$(BIN)/uv venv --quiet --allow-existing --python "$$($(LOWEST_PYTHON))" build/lowest
	$(BIN)/uv pip install --quiet --python $(LOWEST) --no-deps --requirements build/lowest-light.txt --editable .
	$(BIN)/uv pip install --quiet --python $(LOWEST) --constraint build/lowest-light.txt $(LOWEST_TOOLS)
	$(LOWEST) -m pytest -n logical --dist loadfile -o filterwarnings=ignore -m 'not (slow or index or cluster or torture)' $(LOWEST_TESTS)

lint: $(VENV)/has-test $(VENV)/has-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/codespell

bench: $(VENV)/has-test
	$(BIN)/python -m benchmarks

# For machines without the repository: `pip install dist/filterzoo-*.whl`.
wheel: $(VENV)/pip-is-new
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

docs: $(VENV)/has-test
	$(BIN)/python -m filterzoo_publish.columns
	$(BIN)/python -m filterzoo.commands.pages docs
	$(BIN)/python -m filterzoo.kit.reference docs/api.md

# Writes the report's findings about the networks of `make demo` to README and docs/quickstart.md. Needs the package index.
docs-quickstart: $(VENV)/has-report
	mkdir -p build
	$(BIN)/filterzoo crawl manifests/quickstart.yaml --workdir $(DEMO_WORK)
	$(BIN)/filterzoo publish $(DEMO) --workdir $(DEMO_WORK)
	$(BIN)/python -m filterzoo_analysis.digest $(DEMO) --readme README.md --page docs/quickstart.md

# Counts what each zoo lists at the pinned versions. Needs the package index. Fetched documents are cached, with copies in
# FILTERZOO_CACHE/documents (`python -m filterzoo_plugins.coverage --help`).
zoos: $(VENV)/has-test
	$(BIN)/python -m filterzoo_plugins.coverage > docs/zoos.md

clean:
	rm -rf build dist $(VENV)
