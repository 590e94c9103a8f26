# The local cluster and the images that run on it; see hack/cluster/README.md.
LOCAL_CLUSTER := hack/cluster/run
# Prints the folder of etcd, kube-apiserver and kubectl, which are built on first use.
ASSETS := $(LOCAL_CLUSTER) assets
# What `make images` tags the images with; the default is what config/ names.
TAG ?= $(or $(VERSION),dev)

##@ The local cluster

.PHONY: cluster-up
cluster-up: ## Start a real Kubernetes on this machine (needs root).
	@$(LOCAL_CLUSTER) up

.PHONY: cluster-down
cluster-down: ## Stop it and remove every trace, also after a crash.
	@$(LOCAL_CLUSTER) down

.PHONY: cluster-status
cluster-status: ## What runs, with memory, the node and the pods.
	@$(LOCAL_CLUSTER) status

.PHONY: kubeconfig
kubeconfig: # The path of its kubeconfig, and nothing else.
	@$(LOCAL_CLUSTER) kubeconfig

.PHONY: assets
assets: # The folder of etcd, kube-apiserver and kubectl, and nothing else.
	@$(ASSETS)

.PHONY: images
images: ## Build the images and load those that changed into the local cluster.
	@$(LOCAL_CLUSTER) images --version $(TAG)

.PHONY: test-cluster
test-cluster: ## Unit tests of the local cluster's own code, and of the images.
	@go -C hack/cluster test ./...
	@go -C hack/image test ./...

.PHONY: test-dockerfile
test-dockerfile: ## Build the Dockerfile with buildah; its images equal those of `make images` (needs root).
	@command -v buildah >/dev/null || { echo "installing buildah"; apt-get update -qq && apt-get install -y -qq --no-install-recommends buildah >/dev/null; }
	@go -C hack/cluster test -count=1 -timeout 20m -tags dockerfile -run TestDockerfile ./internal/project
