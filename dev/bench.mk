##@ Proof and measure

.PHONY: chaos
chaos: .venv/ready ## Lose nothing, double nothing, while everything breaks (CHAOS=quick, SEED=, SECONDS=, PLANT=)
	@$(PYTHON) -m tests.resilience.chaos $(if $(filter quick,$(CHAOS)),--quick) $(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(PLANT),--plant $(PLANT)) $(if $(AVAILABILITY),--availability $(AVAILABILITY))

.PHONY: bench
bench: .venv/ready ## Measure beside other ways to build this (BENCH=quick: two minutes)
	@$(PYTHON) -m bench

.PHONY: figures
figures: .venv/ready node_modules/.ready ## Measure sizes and starts of the functions on both platforms
	@$(PYTHON) -m tests.support.targets.figures
