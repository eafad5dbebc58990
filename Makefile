# The two commands: `make demo` and `make test`. Both set themselves up in .venv.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= out/demo
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
STAMP := $(VENV)/.vera
NATIVE := CMakeLists.txt pyproject.toml $(shell find kernels -type f 2>/dev/null)

.PHONY: demo test test-full lint cpp-test bench-kernels bench-llm nano cmake base setup clean

demo: $(STAMP)-demo  ## retouch three photos (or PHOTO=my.jpg) through ExecuTorch into out/demo
	$(BIN)/vera demo --out $(OUT) $(if $(PHOTO),--photo "$(PHOTO)")

test: $(STAMP)-dev  ## fast tests
	$(BIN)/python -m pytest -m "not full" -n 2 --dist loadfile $(PYTEST_ARGS)

test-full: test  ## all tests: the fast ones, then those that need both cores for one export or training run
	$(BIN)/python -m pytest -m full --durations=0

lint: $(STAMP)-dev  ## ruff and mypy
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

cpp-test: $(STAMP)-dev  ## C++ tests under ASan and UBSan
	sh kernels/test.sh $(BIN)/cmake

bench-kernels: $(STAMP)-dev  ## render and bake beside other people's, with the aims
	$(PIP) install --no-build-isolation -e ".[demo,dev,bench]"
	$(BIN)/python benchmarks/kernels.py --out out/bench/kernels.json $(BENCH_ARGS)

bench-llm: $(STAMP)-dev build/bench/seeded/model.safetensors  ## the 0.5B shape beside its peers
	$(PIP) install --no-build-isolation -e ".[demo,dev,bench]"
	$(BIN)/python benchmarks/llm.py --checkpoint build/bench/seeded --bundle build/bench/android-int4

build/bench/seeded/model.safetensors: | $(STAMP)-dev
	$(BIN)/python benchmarks/seeded.py build/bench/seeded

cmake: $(BIN)/cmake

base: $(STAMP)-base

nano: $(STAMP)-demo  ## trains vera-nano from PHOTOS=DIR into runs/nano: hours of CPU, goes on after a stop
	$(BIN)/vera train renderer --photos "$(PHOTOS)" --config renderer-nano --out runs/renderer
	$(BIN)/vera train plan --photos "$(PHOTOS)" --config plan-nano --set stage1=runs/renderer \
	  --out runs/plan
	$(BIN)/vera train measures --photos "$(PHOTOS)" --config measures-nano --init runs/plan \
	  --out runs/measures --checkpoint runs/nano

setup: $(STAMP)-dev

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)

$(BIN)/cmake: | $(VENV)/bin/python
	$(PIP) install $(shell grep -E '^(cmake|ninja)==' requirements-build.txt)

# PyTorch and ExecuTorch come first: the package's build compiles operators against their headers.
$(STAMP)-base: $(VENV)/bin/python requirements-build.txt
	$(PIP) install -r requirements-build.txt
	@touch $@

$(STAMP)-demo: $(STAMP)-base $(NATIVE)
	sh kernels/dependencies.sh
	$(PIP) install --no-build-isolation -e ".[demo]"
	@touch $@

$(STAMP)-dev: $(STAMP)-base $(NATIVE)
	sh kernels/dependencies.sh
	$(PIP) install --no-build-isolation -e ".[demo,dev]"
	@touch $(STAMP)-demo $@

clean:
	rm -rf build out $(VENV)
