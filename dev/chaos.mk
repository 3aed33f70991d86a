# The proof under faults.

.PHONY: chaos
chaos: .venv/ready ## Lose nothing, double nothing, while everything breaks (CHAOS=quick, SEED=...)
	@$(PYTHON) -m tests.chaos $(if $(filter quick,$(CHAOS)),--quick) $(if $(SEED),--seed $(SEED)) $(if $(PLANT),--plant $(PLANT)) $(if $(AVAILABILITY),--availability $(AVAILABILITY))
