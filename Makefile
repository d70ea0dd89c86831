# Two commands for a newcomer: `make up` brings the whole system up on this machine, `make test` tests it.
.DEFAULT_GOAL := help
python := .venv/bin/python
# The lab's tests wait more than they work: the others run beside them
beside := $(python) -m pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder

.PHONY: help up down check test test-quick test-all test-kernel mutants workflows openapi lock install

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

install: ## what this machine lacks: Debian packages, .venv
	@scripts/install

up: install ## the lab: a local cloud, two gateways, clients; ends with a table of what was proved
	@scripts/lab up

down: ## end the lab; leaves nothing behind
	@scripts/lab down

check: ## format, lint, types: seconds
	@scripts/install python
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/ty check .

test: install check ## every tier, the lab's end-to-end tests included: some 20 minutes
	@scripts/install prometheus
	@$(beside) -m "not long and not live and not kernel"

test-quick: check ## the tests that need no lab and no root
	@scripts/install prometheus
	@$(python) -m pytest -m "not lab and not kernel and not long and not live"

test-all: install check ## `make test` and what takes longer, mutants included: hours
	@scripts/install prometheus
	@$(beside) -m "not live and not kernel"
	@$(python) tests/mutants.py

test-kernel: install ## gateways on Debian's own kernel, under QEMU: about 10 minutes on an idle machine
	@scripts/install kernel
	@$(python) -m pytest -m kernel

mutants: ## break the code on purpose; each break must fail a test
	@scripts/install prometheus
	@$(python) tests/mutants.py

workflows: install ## lint the GitHub workflows; wants actionlint on PATH besides
	@actionlint
	@.venv/bin/zizmor --offline --quiet .github

openapi: ## the HTTP API's document, as docs/openapi.json has it, on stdout
	@$(python) -m api.openapi

lock: ## pin pyproject.toml's dependencies, with hashes and without any index address
	@.venv/bin/uv pip compile pyproject.toml --group dev --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url --upgrade --quiet -o requirements.lock
