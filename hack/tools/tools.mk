# Pinned development tools. `$(TOOL) NAME` prints the path of one, which is installed on first use.
TOOL := hack/tools/path

##@ Pinned tools

.PHONY: tools
tools: ## Install every pinned development tool.
	@for tool in controller-gen golangci-lint helm cert-manager actionlint govulncheck promtool; do $(TOOL) $$tool || exit 1; done

tool-%: # The path of one tool, and nothing else.
	@$(TOOL) $*
