# The database: measurements and faults.

.PHONY: roundtrips
roundtrips: .venv/ready ## Count the round trips of every request
	@$(PYTHON) -m dev.roundtrips
