.PHONY: vercel-build deploy-vercel
vercel-build: .venv/ready node_modules/.ready ## Build for Vercel with its own builder, no account, and check the result
	@$(PYTHON) -m dev.vercel_build

deploy-vercel: vercel-build ## Deploy to Vercel (needs an account): a preview, or PRODUCTION=1 for the real thing
	@$(PYTHON) -m dev.vercel_deploy
