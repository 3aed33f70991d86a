##@ The database

.PHONY: roundtrips
roundtrips: .venv/ready ## Count the round trips of every request
	@$(PYTHON) -m tests.resilience.roundtrips

.PHONY: faults
faults: .venv/ready ## Break the database in every way, with the real time budgets
	@$(PYTHON) -m tests.resilience.faults
