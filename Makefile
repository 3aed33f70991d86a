# Every target sets up what it needs. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON := .venv/bin/python
export PYTHONPATH := $(CURDIR)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/ready: requirements-dev.txt .python-version
	@sh dev/bootstrap.sh

.PHONY: lock
lock: .venv/ready ## Pin the packages of pyproject.toml again (requirements.txt, requirements-dev.txt)
	@$(PYTHON) -m dev.lock
