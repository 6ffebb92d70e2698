# LedgerBus: every task has its name here; `make help` lists them.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

PYTHON ?=
BACKEND ?= embedded
PYTEST_FLAGS ?=
BENCH ?= ledger
ROUNDS ?= 5
EXAMPLES ?= 100
REMOVALS ?=
export BACKEND

.PHONY: help
help: ## this list
	@echo "LedgerBus. Needs Python 3.11 or newer and make; the rest is fetched, pinned by hash."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  PYTHON=...        the Python to make the environment with"
	@echo "  BACKEND=...       what the tests run on: embedded (the default), external, testcontainers"
	@echo "  PYTEST_FLAGS=...  more for pytest, such as '-k money' or '-n 2'"
	@echo "  BENCH=...         which benchmark"
	@echo "  REMOVALS=...      which guards, by name (all where none is named)"
	@echo "  EXAMPLES=...      how many requests of each kind make schemathesis draws an operation"

$(READY): pyproject.toml requirements-dev.lock requirements-uv.lock .ci/environment
	@PYTHON="$(PYTHON)" VENV="$(VENV)" .ci/environment
	@touch $@

.PHONY: environment
environment: $(READY) ## make .venv with the pinned packages

.PHONY: run
run: $(READY) ## start everything, play the demo, keep running until Ctrl-C
	@$(BIN)/ledgerbus up --demo

.PHONY: demo
demo: $(READY) ## play the demo through gateway and Kafka, print the trial balance, stop
	@$(BIN)/ledgerbus demo

.PHONY: reset
reset: $(READY) ## stop the embedded stack and throw its data away
	@$(BIN)/ledgerbus reset --yes

.PHONY: lint
lint: $(READY) ## ruff's rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

.PHONY: format
format: $(READY) ## rewrite the source in the project's format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: types
types: $(READY) ## mypy, strict
	@$(BIN)/mypy

.PHONY: contracts
contracts: $(READY) ## who may import whom
	@$(BIN)/lint-imports

.PHONY: test
test: $(READY) ## every test, on real PostgreSQL and real Kafka
	@$(BIN)/pytest -n 2 --dist loadgroup $(PYTEST_FLAGS)

.PHONY: test-fast
test-fast: $(READY) ## the tests that need no PostgreSQL, Kafka, stack or sockets: under 20 s on a quiet machine
	@$(BIN)/pytest -n auto -m "not database and not kafka and not stack and not sockets" $(PYTEST_FLAGS)

.PHONY: explore
explore: $(READY) ## the property tests with examples that nobody has tried yet
	@$(BIN)/pytest tests/properties tests/common --hypothesis-profile=explore $(PYTEST_FLAGS)

.PHONY: schemathesis
schemathesis: $(READY) ## every service against its OpenAPI document, EXAMPLES=100 an operation, others each time
	@SCHEMATHESIS_EXAMPLES=$(EXAMPLES) $(BIN)/pytest tests -k schemathesis -s --timeout=7200 -p no:randomly $(PYTEST_FLAGS)

.PHONY: reliability
reliability: $(READY) ## kill -9 and other faults under load, ROUNDS=5 of each kind
	@$(BIN)/python -m tests.reliability.rounds --rounds $(ROUNDS)

.PHONY: removals
removals: $(READY) ## take each guard out in turn and see that a test notices
	@$(BIN)/python -m tests.removals $(REMOVALS)

.PHONY: check
check: lint types contracts test ## all of it: lint, types, contracts, then tests (tidy and drift checks are tests)

.PHONY: docs
docs: $(READY) ## render the pages that are made from code (metrics, settings)
	@$(BIN)/python -m tests.docs.rendered

.PHONY: audit
audit: $(READY) ## known vulnerabilities in the pinned packages
	@$(BIN)/pip-audit --require-hashes --disable-pip -r requirements.lock

.PHONY: bench
bench: $(READY) ## run a benchmark
	@$(BIN)/ledgerbus bench $(BENCH)

COMPILE := $(BIN)/uv --system-certs --no-config pip compile --quiet --upgrade --universal --python-version 3.11 \
	--generate-hashes --no-header

.PHONY: lock
lock: $(READY) ## pin the newest packages that pyproject.toml allows
	@echo uv | $(COMPILE) --no-annotate --output-file requirements-uv.lock -
	@$(COMPILE) --output-file requirements.lock pyproject.toml
	@$(COMPILE) --all-extras --constraints requirements.lock --output-file requirements-dev.lock pyproject.toml

.PHONY: clean
clean: ## remove the environment and every cache; data of the embedded stack stays (make reset removes that)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache htmlcov build dist
	@rm -f .coverage .coverage.*
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
