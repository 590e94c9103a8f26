# Pinned development tools. A recipe runs one as $(call tool,NAME); it is installed on first use. See hack/tools/path.
tool = $$(hack/tools/path $(1))

.PHONY: tools
tools: ## Install every pinned development tool
	@for tool in controller-gen golangci-lint helm; do hack/tools/path $$tool || exit 1; done
