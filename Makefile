# Every target sets up what it needs. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON := .venv/bin/python
export PYTHONPATH := $(CURDIR)

##@ Every day

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^##@ / {print "\n" substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Made again whenever the pinned packages change.
.venv/ready: requirements-dev.txt .python-version
	@sh dev/bootstrap.sh

.PHONY: dev
dev: .venv/ready ## Serve the API on this machine, with a PostgreSQL of its own
	@exec $(PYTHON) -m dev.serve

.PHONY: token
token: .venv/ready ## Print a local token: make token USER=alice
	@$(PYTHON) -m dev.token "$(USER)"

.PHONY: migrate
migrate: .venv/ready ## Bring DATABASE_URL_UNPOOLED to the newest revision
	@$(PYTHON) -m migrations

.PHONY: test
test: .venv/ready ## Run the tests that need only Python packages
	@$(PYTHON) -m pytest -q -n 2 --dist worksteal

.PHONY: verify
verify: test verify-rest ## Run every test, also those with real components of every platform

.PHONY: verify-rest
verify-rest: .venv/ready node_modules/.ready
	@$(PYTHON) -m dev.verify

.PHONY: check
check: .venv/ready ## Check format, lint, types, imports and generated files
	@$(PYTHON) -m dev.check

##@ What is generated

.PHONY: sql
sql: .venv/ready ## Compile lib/db/queries.py to lib/db/compiled.py
	@$(PYTHON) -m dev.compile_statements

.PHONY: openapi
openapi: .venv/ready ## Write the OpenAPI document again
	@$(PYTHON) -m dev.openapi

.PHONY: lock
lock: .venv/ready ## Pin the packages of pyproject.toml again
	@$(PYTHON) -m dev.lock

include $(addprefix dev/,vercel.mk aws.mk smoke.mk database.mk security.mk bench.mk)
