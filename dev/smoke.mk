##@ A deployment

.PHONY: smoke
smoke: .venv/ready ## Test a deployment end to end: make smoke URL=https://... (JSON=1, ORIGIN=https://...)
	@$(PYTHON) -m dev.smoke $(if $(URL),"$(URL)") $(if $(ORIGIN),--origin "$(ORIGIN)") $(if $(JSON),--json)
