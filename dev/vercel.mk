##@ Vercel

.PHONY: vercel-build
vercel-build: .venv/ready node_modules/.ready ## Build for Vercel, without an account, and check the result
	@$(PYTHON) -m dev.deploy.vercel_build

.PHONY: test-vercel
test-vercel: .venv/ready node_modules/.ready ## Test that build under Vercel's own runtime
	@$(PYTHON) -m pytest -q -m verify tests/platforms/vercel
	@$(PYTHON) -m pytest -q tests/contract --target vercel_runtime

.PHONY: deploy-vercel
deploy-vercel: .venv/ready node_modules/.ready ## Deploy a preview to Vercel; PRODUCTION=1 for production
	@$(PYTHON) -m dev.deploy.vercel
