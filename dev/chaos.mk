# The proof under faults.

.PHONY: chaos
chaos: .venv/ready ## Lose nothing, double nothing, while everything breaks (CHAOS=quick, SEED=, SECONDS=, PLANT=)
	@$(PYTHON) -m tests.chaos $(if $(filter quick,$(CHAOS)),--quick) $(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(PLANT),--plant $(PLANT)) $(if $(AVAILABILITY),--availability $(AVAILABILITY))
