# Every target installs what it needs. `make` alone lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest -q
# Tests that wait leave a processor idle, so there are more workers than processors.
WORKERS := --dist worksteal -n
# PYTEST_ADDOPTS may select none of these tests. pytest then exits with 5.
MAY_BE_EMPTY := || { [ $$? -eq 5 ] && [ -n "$$PYTEST_ADDOPTS" ]; }
export PYTHONPATH := $(CURDIR)
# A value from the command line: a variable of the shell must not choose a user or a deployment.
# It is not expanded, because `a$$b` would become `a`, which may be another user, and
# `$$(shell ...)` would run.
given = $(if $(filter command,$(firstword $(origin $(1)))),$(value $(1)))
unexport USER_ID SINCE ALL_USERS URL STAGE PRODUCTION
# The tests start hundreds of processes, which would each compile the same modules again.
unexport PYTHONDONTWRITEBYTECODE
# The Node.js that package.json installs comes before that of the machine.
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)

##@ Every day

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^##@ / {print "\n" substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Installed again when the pinned packages change.
.venv/ready: requirements-dev.txt .python-version
	@sh dev/bootstrap.sh

# Packages may not run scripts: they contain their programs for every platform.
node_modules/.ready: package-lock.json
	@command -v npm >/dev/null || { echo "npm is missing: install Node.js 22 and run make again." >&2; exit 1; }
	@echo "Installing the npm packages (half a minute) ..."
	@npm ci --ignore-scripts --silent
	@touch $@

.PHONY: dev
dev: .venv/ready ## Serve the API on this machine with its own PostgreSQL, and reload on changes
	@exec $(PYTHON) -m dev.serve

.PHONY: demo
demo: .venv/ready ## Serve a page to click, with Better Auth, the API and a database of its own
	@exec $(PYTHON) -m dev.demo

.PHONY: token
token: .venv/ready ## Print a token for the local API: make token USER=alice
	@$(PYTHON) -m dev.token "$(USER)"

.PHONY: test-fast
test-fast: .venv/ready ## Run the fast tests (about a minute): most of tests/contract and tests/unit
	@echo "Running the fast tests (tests/contract, tests/unit) ..."
	@$(PYTEST) $(WORKERS) 4 -m "fast and not verify" $(if $(PYTEST_ADDOPTS),,tests/contract tests/unit) $(MAY_BE_EMPTY)

.PHONY: test
test: test-fast ## Run all tests that need only Python packages, the fast ones first
	@echo "Running the other tests that need only Python packages (about three minutes on two processors) ..."
	@$(PYTEST) $(WORKERS) 4 -m "not fast and not verify" $(MAY_BE_EMPTY)

.PHONY: verify
verify: test verify-rest ## Run all tests, including those with the real components of each platform

.PHONY: verify-rest
verify-rest: .venv/ready node_modules/.ready
	@$(PYTHON) -m dev.verify

.PHONY: check
check: .venv/ready ## Check format, lint, types, imports, spelling, workflows and generated files
	@$(PYTHON) -m dev.check

##@ Generated files

.PHONY: sql
sql: .venv/ready ## Compile lib/db/queries.py to lib/db/compiled.py
	@$(PYTHON) -m dev.compile_statements

.PHONY: openapi
openapi: .venv/ready ## Generate lib/static/openapi.json
	@$(PYTHON) -m dev.openapi

.PHONY: lock
lock: .venv/ready ## Pin the versions and hashes of the packages in pyproject.toml
	@$(PYTHON) -m dev.lock

.PHONY: screenshots
screenshots: .venv/ready node_modules/.ready ## Take the pictures of the example in docs/images with Chromium
	@$(PYTHON) -m tests.integrations.example.screenshots

##@ Database

.PHONY: migrate
migrate: .venv/ready ## Migrate the database at DATABASE_URL_UNPOOLED to the newest revision
	@$(PYTHON) -m migrations

retention smoke: export GIVEN_URL := $(call given,URL)
.PHONY: retention
retention: .venv/ready ## Remove expired data at DATABASE_URL, or by a deployment: make retention URL=https://...
	@$(PYTHON) -m dev.retention "$$GIVEN_URL"

.PHONY: new-history
new-history: .venv/ready ## After a restore: let clients that follow the changes start again
	@$(PYTHON) -m dev.new_history

erase-user export-user restore-tasks: export GIVEN_USER := $(call given,USER_ID)
.PHONY: erase-user
erase-user: .venv/ready ## Erase a user and all their data: make erase-user USER_ID=...
	@$(PYTHON) -m dev.erase_user "$$GIVEN_USER"

.PHONY: export-user
export-user: .venv/ready ## Print all that is stored of a user, as JSON: make export-user USER_ID=...
	@$(PYTHON) -m dev.export_user "$$GIVEN_USER"

# BACKUP_URL is a variable of the shell, because the list of processes shows the command line.
restore-tasks: export GIVEN_SINCE := $(call given,SINCE)
.PHONY: restore-tasks
restore-tasks: .venv/ready ## Restore lost tasks (BACKUP_URL): make restore-tasks SINCE=2026-11-23T02:30Z USER_ID=...
	@$(PYTHON) -m dev.restore_tasks --since="$$GIVEN_SINCE" --user="$$GIVEN_USER" $(if $(call given,ALL_USERS),--all-users)

.PHONY: roundtrips
roundtrips: .venv/ready ## Count the database round trips of every request
	@$(PYTHON) -m tests.resilience.roundtrips

.PHONY: transports
transports: .venv/ready ## Count the instructions of a request over both transports to PostgreSQL
	@$(PYTHON) -m bench.transports

##@ AWS

.PHONY: offline
offline: .venv/ready node_modules/.ready ## Serve the Lambda functions under serverless-offline
	@exec $(PYTHON) -m dev.offline

.PHONY: package
package: .venv/ready ## Build build/lambda.zip (ARCH=x86_64, EXTRA=asymmetric, TRANSPORT=http)
	@$(PYTHON) -m dev.deploy.package $(if $(ARCH),--arch $(ARCH)) $(if $(EXTRA),--extra $(EXTRA)) $(if $(TRANSPORT),--transport $(TRANSPORT))

.PHONY: deploy-aws
deploy-aws: stage-named .venv/ready node_modules/.ready ## Deploy to AWS: make deploy-aws STAGE=prod (docs/aws.md)
	@STAGE='$(call given,STAGE)' $(PYTHON) -m dev.deploy.aws

# Checked first, before anything is installed.
.PHONY: stage-named
stage-named:
	@test -n '$(call given,STAGE)' || { echo "Name the stage: make deploy-aws STAGE=prod." >&2; exit 1; }

.PHONY: test-aws
test-aws: .venv/ready node_modules/.ready ## Test the zip in Lambda's runtime, and the CloudFormation template
	@$(PYTEST) $(WORKERS) 2 -m verify tests/platforms/aws
	@$(PYTHON) -m dev.verify "contract on lambda_runtime" "contract on offline"

.PHONY: dashboard
dashboard: .venv/ready ## Draw docs/images/dashboard.svg, with the log lines and metrics of a test
	@$(PYTHON) -m tests.tooling.dashboard

##@ Vercel

.PHONY: vercel-build
vercel-build: .venv/ready node_modules/.ready ## Build for Vercel without an account, and check the build
	@$(PYTHON) -m dev.deploy.vercel_build

.PHONY: deploy-vercel
deploy-vercel: .venv/ready node_modules/.ready ## Deploy a preview to Vercel, or production with PRODUCTION=1
	@PRODUCTION='$(call given,PRODUCTION)' $(PYTHON) -m dev.deploy.vercel

.PHONY: test-vercel
test-vercel: .venv/ready node_modules/.ready ## Test the build under Vercel's Python runtime
	@$(PYTEST) -m verify tests/platforms/vercel
	@$(PYTHON) -m dev.verify "contract on vercel_runtime" "raw requests on vercel_server"

##@ A deployment

.PHONY: smoke
smoke: .venv/ready ## Test a deployment end to end: make smoke URL=https://... (JSON=1, ORIGIN=https://...)
	@$(PYTHON) -m dev.smoke $(if $(call given,URL),"$$GIVEN_URL") $(if $(ORIGIN),--origin "$(ORIGIN)") $(if $(JSON),--json)

##@ Security

.PHONY: audit
audit: .venv/ready ## Look up known vulnerabilities of every deployed package
	@$(PYTHON) -m dev.audit

.PHONY: sbom
sbom: .venv/ready ## Write the CycloneDX bill of materials to build/sbom.json
	@$(PYTHON) -m dev.sbom

.PHONY: hostile
hostile: .venv/ready ## Attack the API: other users' tasks, malformed bytes, leaks, generated requests
	@$(PYTEST) -m "verify or not verify" tests/security/hostile

##@ Reliability and performance

.PHONY: chaos
chaos: .venv/ready ## Check that no write is lost or doubled, or change missed (CHAOS=quick, SEED=, MUTANT=, FIND=10)
	@$(PYTHON) -m tests.resilience.chaos $(if $(filter quick,$(CHAOS)),--quick) $(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(MUTANT),--mutant $(MUTANT)) $(if $(FIND),--find $(FIND)) $(if $(AVAILABILITY),--availability $(AVAILABILITY))

.PHONY: fairness
fairness: .venv/ready ## Measure how long a user waits beside 16 clients of another user
	@$(PYTHON) -m tests.resilience.fairness

.PHONY: lists
lists: .venv/ready ## Measure what lists of 10 to 100,000 tasks cost PostgreSQL
	@$(PYTHON) -m bench.lists

.PHONY: faults
faults: .venv/ready ## Test every database fault with the real time limits
	@$(PYTHON) -m tests.resilience.faults

.PHONY: bench
bench: .venv/ready node_modules/.ready ## Compare the API with other implementations (BENCH=quick: two minutes)
	@$(PYTHON) -m bench

.PHONY: growth
growth: .venv/ready ## Predict what more users need and cost (docs/growth.md; SIMULATE=1: a million tasks; TABLES=1)
	@$(PYTHON) -m bench.growth $(if $(SIMULATE),--simulate) $(if $(TABLES),--tables)

.PHONY: figures
figures: .venv/ready node_modules/.ready ## Measure size and start time of the functions on both platforms
	@$(PYTHON) -m tests.support.targets.figures
