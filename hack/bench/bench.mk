# The benchmark of the protocol library; see hack/bench/README.md.

##@ Measure it

.PHONY: bench
bench: ## Measure the protocol library beside its floor and its peers, under 15 minutes; writes docs/performance.md. ONLY=a,b runs some scenarios.
	@go -C hack/bench run . $(if $(ONLY),--only $(ONLY))

.PHONY: bench-outage
bench-outage: ## What NODES nodes (1000 unless you say how many) notice when parts of the control plane are away, as a table; half an hour. ONLY=A,B runs some scenarios.
	@KUBEBUILDER_ASSETS=$$($(ASSETS)) go -C hack/bench run ./outage --nodes $(or $(NODES),1000) $(if $(ONLY),--only $(ONLY))

.PHONY: test-bench
test-bench: ## Every scenario of the benchmark in small, under 20 s.
	@go -C hack/bench test ./...
