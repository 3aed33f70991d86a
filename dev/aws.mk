# AWS: the emulator, the artifact, the deployment. Included by the Makefile.

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
	@$(PYTHON) -m dev.package $(if $(ARCH),--arch $(ARCH)) $(if $(EXTRA),--extra $(EXTRA))
