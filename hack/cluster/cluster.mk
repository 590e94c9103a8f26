# The local cluster; see hack/cluster/README.md.
CLUSTER := go -C hack/cluster run .
# What the images are tagged with. A semantic version is written into the binaries too.
IMAGE_TAG ?= dev

.PHONY: cluster-up cluster-down cluster-status kubeconfig images test-cluster test-dockerfile
cluster-up: ## Start a real Kubernetes on this machine (needs root)
	@$(CLUSTER) up

cluster-down: ## Stop it and remove every trace
	@$(CLUSTER) down

cluster-status: ## Show what runs
	@$(CLUSTER) status

kubeconfig: ## Print the path of its kubeconfig
	@$(CLUSTER) kubeconfig

images: ## Build the images and load them into the local cluster
	@$(CLUSTER) images --version $(IMAGE_TAG)

test-cluster: ## Test the local cluster's own code
	@go -C hack/cluster test ./...

test-dockerfile: ## Build the Dockerfile with buildah and compare its images with those of `make images` (needs root)
	@go -C hack/cluster test -count=1 -run TestDockerfile -tags dockerfile ./internal/project
