.PHONY: bench
bench: .venv/ready ## Measure beside other ways to build this (BENCH=quick: two minutes)
	@$(PYTHON) -m bench
