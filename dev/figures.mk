# What the functions weigh and take, on both platforms.

.PHONY: figures
figures: .venv/ready node_modules/.ready ## Measure sizes and starts of the functions on both platforms
	@$(PYTHON) -m tests.targets.figures
