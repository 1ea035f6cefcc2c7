# The whole developer interface. `make demo` and `make test` need no more than Python 3.11 or
# newer and the package index: what is missing is set up first, in .venv.

BIN := .venv/bin
# Tests that run side by side; tests marked "alone" wait for the others (tests/conftest.py).
# Most of them wait rather than compute; who is done takes the next share (tests/shares.py).
JOBS ?= 4
PYTEST ?=
NEEDS := pyproject.toml uv.lock scripts/setup

.DEFAULT_GOAL := help
.PHONY: help setup demo test faults check bench format clean

help: ## what there is
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: .venv/.dev ## everything a developer needs, in .venv

demo: .venv/.demo ## real work on the embedded default: pictures, an access log; no server
	@$(BIN)/python -m examples.demo

test: .venv/.dev ## all tests (PYTEST="-k name" to choose)
	@scripts/servers
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadscope --no-loadscope-reorder $(PYTEST)

faults: .venv/.dev ## break everything on every broker, and count what came of the tasks; half an hour
	@scripts/servers
	@$(BIN)/python -m tests.faults.run $(FAULTS)

check: .venv/.dev ## format, lint, types, layers, our own rules
	@scripts/check

bench: .venv/.bench ## figures beside Celery and its peers, about ten minutes
	@scripts/servers
	@scripts/bench

format: .venv/.dev ## write the files as `make check` wants them
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix-only --quiet .

clean: ## forget .venv and every cache
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

.venv/.dev: $(NEEDS)
	@scripts/setup dev

.venv/.demo: $(NEEDS)
	@scripts/setup demo

.venv/.bench: $(NEEDS)
	@scripts/setup bench
