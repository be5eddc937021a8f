.DEFAULT_GOAL := help
.PHONY: help setup run test check format lock bench up down clean

PYTEST_ARGS ?=
VENV := .venv/bin
# Two at a time; what measures is alone (tests/alone.py), and what shares a costly fixture stays together.
PYTEST = $(VENV)/python -m pytest --numprocesses=2 --dist=loadgroup $(PYTEST_ARGS)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/.installed ## create .venv with both services and what the tests need; quick when nothing changed

.venv/.installed: requirements/dev.lock scripts/setup
	@scripts/setup

run: setup ## start both services in the foreground, with embedded SQLite under var/; Ctrl-C stops both
	@$(VENV)/python -m scripts.run_both

test: setup ## run the tests; a part whose engine (Docker, PostgreSQL, Chromium) is missing is skipped with its reason
	@$(PYTEST)

check: setup ## lint, types, import contracts, tests: exactly what CI runs
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .
	@$(VENV)/mypy
	@$(VENV)/lint-imports
	@$(PYTEST)

format: setup ## put the code into the house's form
	@$(VENV)/ruff check --fix .
	@$(VENV)/ruff format .

lock: setup ## resolve the dependencies again and write requirements/*.lock (LOCK_ARGS=--upgrade for newer ones)
	@scripts/lock $(LOCK_ARGS)

bench: setup ## the benchmarks, each beside its baseline in the same run
	@$(VENV)/python -m tests.bench

up: ## build and start both services in containers, wait until they are healthy
	@scripts/containers up

down: ## stop the containers; the volumes with the data stay
	@scripts/containers down

clean: ## remove .venv and every cache; var/ with its data stays
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
