# Two commands do all set-up on a fresh machine: `make demo` runs the main job, `make test` proves it.
# They need python3 >= 3.11, make and a package index, and keep everything they install in .venv.

PYTHON ?= python3
BIN := .venv/bin

# A hundred processes start in these tests. Each would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint bench bench-tracker soak chaos clean
.DEFAULT_GOAL := test

# The stamp is made last, so an install that was cut off is done again.
.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "laion-worker needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable . --group dev
	@touch $@

demo: .venv/.installed
	$(BIN)/python -m demo

test: .venv/.installed lint
	$(BIN)/python -m pytest -m "not slow" -n 4 --dist loadfile --no-loadscope-reorder

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.installed
	$(BIN)/python -m benchmarks.queue
	$(BIN)/python -m benchmarks.dedupe
	$(BIN)/python -m benchmarks.reading

bench-tracker: .venv/.installed
	$(BIN)/python -m benchmarks.tracker

soak: .venv/.installed
	$(BIN)/python -m benchmarks.soak

# A million lives, for hours, in runs of 10,000; `make test` has half a minute of it.
chaos: .venv/.installed
	$(BIN)/python -m tests.e2e.chaos

clean:
	rm -rf .venv demo-run
