# make demo   sets up .venv, trains the reference problem, shows its invertibility, builds a page of it
# make page   builds the page of the latest demo anew: one HTML file, opened by a double click
# make docs   builds the site in docs/_build: open docs/_build/index.html
# make notebooks   executes the notebooks of examples/ and writes their outputs into them
# make quick  lint, types, doctests and the tests that are not slow: what one runs all day
# make test   lint, types, doctests and all tests: what CI runs
# make release   tests, builds twice, checks and tries the wheel and the sdist, and stops before the upload
# make test-lowest   the tests with the oldest versions and the oldest Python that pyproject.toml admits
# make test-newest   the tests with what pip brings today, without pins, on the newest Python that is here
# make test-projects  real packages, each in an environment of its own: are their fits their own, and the numbers right
PYTHON ?= python3
PYTHON_LOWEST ?= $(shell for python in python3.10 ~/.pyenv/versions/3.10.*/bin/python $(PYTHON); do \
	$$python -c '' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
RUNS ?= runs
PYTHON_NEWEST ?= $(shell for python in python3.14 ~/.pyenv/versions/3.14.*/bin/python python3.13 ~/.pyenv/versions/3.13.*/bin/python $(PYTHON); do \
	$$python -c '' 2>/dev/null && echo $$python && break; done)
LOWEST := .venv-lowest
NEWEST := .venv-newest

.PHONY: install demo page docs notebooks quick test release test-lowest test-newest test-projects lowest-versions lint types format clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "torch==$$(sed -n 's/^torch==//p' constraints.txt)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: install
	$(BIN)/lightning-invert demo $(ARGS)
	@$(if $(ARGS),,$(MAKE) --no-print-directory page || echo "No page: docs/how_to/page.md says what it takes.")

page: install
	@checkpoint=$$(ls -t $(RUNS)/blast_furnace/*/checkpoints/*.ckpt 2>/dev/null | head -1); \
	test -n "$$checkpoint" || { echo "There is no trained pair in $(RUNS): make demo trains one."; exit 1; }; \
	$(BIN)/lightning-invert export --ckpt "$$checkpoint" --to page --folder $(RUNS)/page \
		--title "Blast furnace with hydrogen injection"

docs: install
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build

notebooks: install
	$(BIN)/python -m docs.notebooks

# A process a core: more threads would only wait for each other.
quick: lint types
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -q -m "not slow"

test: lint types
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

# From the commit alone, in an environment with nothing else; the upload is left to people.
release: test
	@test -z "$$(git status --porcelain)" || { echo "Commit first: git status names what is not."; exit 1; }
	rm -rf build/release && mkdir -p build/release
	for build in first second; do $(BIN)/python -m build --no-isolation --outdir build/release/$$build .; done
	diff -r build/release/first build/release/second
	$(BIN)/twine check --strict build/release/first/*
	for kind in .whl .tar.gz; do \
		$(PYTHON) -m venv --clear build/release/env && \
		build/release/env/bin/pip install --quiet --constraint constraints.txt $$(ls build/release/first/*$$kind) && \
		(cd build/release && env/bin/lightning-invert demo --max_epochs 1 --data.num_points 2000) || exit 1; \
	done
	@echo "Ready. Tag it, then: twine upload build/release/first/*"

# Others' deprecations are left out, and so are timings and what would install .venv.
OF_OTHERS := -n auto --dist worksteal -W ignore::DeprecationWarning -W ignore::FutureWarning -k "not test_benchmarks and not the_demo_runs"

test-lowest: $(LOWEST)/.installed
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest $(OF_OTHERS)

test-newest: $(NEWEST)/.installed
	OMP_NUM_THREADS=1 $(NEWEST)/bin/python -m pytest $(OF_OTHERS) -W "ignore:Guards may run slower on Python 3.13.0:RuntimeWarning"

$(NEWEST)/.installed: pyproject.toml
	$(PYTHON_NEWEST) -m venv --clear $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --upgrade --editable ".[dev]"
	touch $@

# Some GB of downloads and ten minutes; docs/evidence/tried.md shows what the latest run saw.
test-projects: install $(LOWEST)/bin/uv
	PATH=$(abspath $(LOWEST)/bin):$$PATH $(BIN)/python -m tests.real && $(BIN)/python -m docs.tried

$(LOWEST)/.installed: $(LOWEST)/bin/uv pyproject.toml constraints-lowest.txt
	$< pip install --quiet --python $(LOWEST) --constraint constraints-lowest.txt --editable ".[dev]"
	touch $@

$(LOWEST)/bin/uv:
	$(PYTHON_LOWEST) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet uv

# Old matplotlib calls what newer pyparsing warns of.
lowest-versions: $(LOWEST)/bin/uv
	echo 'pyparsing<3.3' | $< pip compile --quiet --upgrade --python-version 3.10 --extra dev \
		--resolution lowest-direct --no-annotate --constraint - --output-file constraints-lowest.txt \
		--custom-compile-command 'make lowest-versions' pyproject.toml

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

types: install
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(LOWEST) $(NEWEST) build dist *.egg-info
