##@ AWS

node_modules/.ready: package-lock.json
	@command -v npm >/dev/null || { echo "npm is missing: install Node.js 20.19 or later and run make again." >&2; exit 1; }
	@echo "Installing the npm tools (half a minute) ..."
	@npm ci --ignore-scripts --silent
	@touch $@

.PHONY: offline
offline: .venv/ready node_modules/.ready ## Serve the Lambda functions under serverless-offline
	@exec $(PYTHON) -m dev.offline

.PHONY: package
package: .venv/ready ## Build the zip for AWS Lambda: build/lambda.zip
	@$(PYTHON) -m dev.deploy.package $(if $(ARCH),--arch $(ARCH)) $(if $(EXTRA),--extra $(EXTRA))

.PHONY: deploy-aws
deploy-aws: stage-named .venv/ready node_modules/.ready ## Deploy to AWS: make deploy-aws STAGE=prod (docs/aws.md)
	@STAGE="$(STAGE)" $(PYTHON) -m dev.deploy.aws

# The first thing asked for: before npm's tools are installed.
.PHONY: stage-named
stage-named:
	@test -n "$(STAGE)" || { echo "Name the stage: make deploy-aws STAGE=prod." >&2; exit 1; }

.PHONY: test-aws
test-aws: .venv/ready node_modules/.ready ## Test the zip in Lambda's own runtime, and the stack's template
	@$(PYTHON) -m pytest -q -n 2 -m verify tests/platforms/aws
	@$(PYTHON) -m pytest -q -n 2 tests/contract --target lambda_runtime -p tests.support.targets.deviations
	@$(PYTHON) -m pytest -q -n 2 tests/contract --target offline -p tests.support.targets.deviations
