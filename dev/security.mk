##@ Security

.PHONY: audit
audit: .venv/ready ## Ask for known holes of every package that is deployed (ADVISORIES=folder)
	@$(PYTHON) -m dev.audit

.PHONY: sbom
sbom: .venv/ready ## Write the CycloneDX bill of materials: build/sbom.json
	@$(PYTHON) -m dev.sbom

.PHONY: hostile
hostile: .venv/ready ## Attack the API: strangers, odd bytes, canaries, generated requests
	@$(PYTHON) -m pytest -q -m "verify or not verify" tests/security/hostile
