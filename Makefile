# `make demo` and `make test` set up what they need: Python 3.11 to 3.14 and make are enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SAMPLE := samples/astronaut.mp4

.PHONY: help demo test fuzz lint typing docs page wheel clean
FUZZ_SECONDS ?= 60
help:            ## what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/' | sort

$(VENV)/run: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/dev: pyproject.toml $(VENV)/run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(VENV)/run ## encode and decode the sample; writes demo/side-by-side.mp4 and demo/strip.png
	$(BIN)/python samples/demo.py $(SAMPLE) demo

test: $(VENV)/dev ## all tests
	$(BIN)/python -m pytest

$(VENV)/fuzz: pyproject.toml $(VENV)/dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	@touch $@

fuzz: $(VENV)/fuzz ## replay the saved inputs, then try new ones for FUZZ_SECONDS (60) with FUZZ_TARGETS (all); what breaks is left in build/fuzz
	nice $(BIN)/python -W ignore tests/fuzz/run.py $(FUZZ_TARGETS) --seconds $(FUZZ_SECONDS)

lint: $(VENV)/dev ## style and layout
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typing: $(VENV)/dev ## types; a folder of links lets mypy follow the package map
	@rm -rf build/typing && mkdir -p build/typing/fvc
	@for file in fvc/*.py fvc/py.typed fvc/cli fvc/jobs fvc/calls fvc/web; do ln -sfn ../../../$$file build/typing/fvc/; done
	@for part in codec models export training evaluation; do ln -sfn ../../../$$part build/typing/fvc/$$part; done
	$(BIN)/mypy

$(VENV)/docs: pyproject.toml $(VENV)/dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@

docs: $(VENV)/docs ## the site in build/site; a warning or a broken link is an error
	$(BIN)/mkdocs build --quiet --strict --clean

page: $(VENV)/dev ## what the page of fvc serve needs (npm): ONNX Runtime, networks, decoder; into fvc/web/page/built
	$(BIN)/python -m fvc.web.build_page

wheel: $(VENV)/dev ## build the wheel into dist/ and try it in an empty environment outside the checkout
	rm -rf build/lib dist
	$(BIN)/python -m build --wheel --outdir dist . > /dev/null
	sh tests/try_wheel.sh $(PYTHON) dist/*.whl $(SAMPLE)

clean:           ## remove what was built
	rm -rf build dist demo *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
