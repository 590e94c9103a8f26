# The refinery operator. `make help` lists what there is.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION := $(shell sed -n 's/^var Version = "\(.*\)"/\1/p' internal/version/version.go)
# Where the cluster of `make demo` comes from: local (made on this machine) or existing (the current kubeconfig context).
CLUSTER ?= local

include hack/tools/tools.mk
include hack/cluster/cluster.mk
include hack/bench/bench.mk
include hack/release/release.mk

##@ See it work

.PHONY: demo
demo: ## Start a local Kubernetes, install the operator with Helm, apply the samples, show them. CLUSTER=existing uses the current context.
	@CLUSTER=$(CLUSTER) hack/demo up

.PHONY: demo-down
demo-down: ## Undo make demo: nothing stays behind.
	@CLUSTER=$(CLUSTER) hack/demo down

##@ Test it

.PHONY: test
test: verify lint test-unit fuzz test-attack test-cluster test-bench test-release test-trust test-outage test-beside test-e2e test-demo ## Everything CI checks.

# Tests of the controllers mostly wait. Each part has an API server of its own.
.PHONY: test-beside
test-beside: # The parts that need an API server and measure nothing, three at a time. What a part says is shown at its end.
	@$(ASSETS) >/dev/null; $(TOOL) cert-manager >/dev/null; $(TOOL) helm >/dev/null # with their progress
	@$(MAKE) --no-print-directory test-packages
	@rm -rf $(RIGHTS)
	@# With nothing to be made before them, the longest parts begin first.
	@$(MAKE) --no-print-directory --jobs=3 --output-sync --old-file=test-packages test-controllers test-restore test-api test-certmanager test-chart test-policies test-alerts test-dockerfile
	@$(MAKE) --no-print-directory test-rights # of what these recorded

# Packages that need nothing but Go. Those under test/ and the suite of the controllers need a Kubernetes API server.
UNIT_PACKAGES = $(shell go list ./... | grep -v -e /test/ -e /controllers$$ -e /applyconfiguration) ./test/kit ./test/late ./test/loopback ./test/rights

# Where tests note which cases of the conformance kit they ran again: go test shows nothing of a test that passes.
RETRIED = $(CURDIR)/bin/retried-cases

.PHONY: test-unit
test-unit: test-packages ## The inner loop: unit tests with the race detector, under a minute when warm.
	@mkdir -p bin; : >$(RETRIED); trap 'cat $(RETRIED)' EXIT; env -u KUBEBUILDER_ASSETS RETRIED_CASES=$(RETRIED) go test -race $(UNIT_PACKAGES)
	@env -u KUBEBUILDER_ASSETS go test -run TestNoCertificateCosts ./internal/master/ # what it measures, the race detector would change
	@go test -count=1 ./internal/imports # what the go command lists for it, Go's cache of test results would not notice

.PHONY: fuzz
fuzz: ## Run each fuzz target of the repository for FUZZTIME (30s each unless told) with the race detector, and say where a failing input is.
	@hack/fuzz $(FUZZTIME)

.PHONY: test-attack
test-attack: ## A master under attack over real sockets: ten thousand connections, stalling peers, resets, garbage; three minutes.
	@# Without the race detector: its memory, five to ten times as much, would hide the bounds that this holds the master to.
	@go test -count=1 -timeout 5m ./test/attack/

.PHONY: test-api
test-api: ## What the CRDs refuse and fill in, on a real API server.
	@KUBEBUILDER_ASSETS=$$($(ASSETS)) go test -count=1 ./test/api/

# Where suites record which rights of the operator and of masters were used.
RIGHTS = $(CURDIR)/bin/rights

# GOGC gives memory for time, of API server and etcd too.
ENVTEST = GOGC=400 KUBEBUILDER_ASSETS=$$($(ASSETS)) RIGHTS_USED=$(RIGHTS) go test -race -count=1 -timeout 45m

.PHONY: test-controllers test-controllers-specs test-controllers-rest test-masters
test-controllers: test-controllers-specs test-controllers-rest test-masters ## Controllers, the operator's process and the master's reporter against etcd and kube-apiserver.
test-controllers-specs: test-packages
	@$(ENVTEST) -run 'TestControllers$$' ./controllers
test-controllers-rest: test-packages # rotations and campaigns, mostly
	@$(ENVTEST) -skip 'TestControllers$$' ./controllers
test-masters: test-packages
	@$(ENVTEST) ./internal/master/... ./internal/operator

SEQUENCES ?= 2000

.PHONY: campaign
campaign: ## Random sequences of what people do to certificates and their Secrets, SEQUENCES of them (2000): two hours. A seed reproduces what fails.
	@KUBEBUILDER_ASSETS=$$($(ASSETS)) RAPID_CHECKS=$(SEQUENCES) go test -count=1 -timeout 0 -run TestWhateverPeopleDo ./controllers

.PHONY: test-certmanager
test-certmanager: test-packages ## Certificates from cert-manager: its own controllers against etcd and kube-apiserver.
	@KUBEBUILDER_ASSETS=$$($(ASSETS)) RIGHTS_USED=$(RIGHTS) CERT_MANAGER=$$($(TOOL) cert-manager) go test -race -count=1 -timeout 10m ./test/certmanager/

.PHONY: test-rights
test-rights: ## The operator and the masters use every right that they have, as test-controllers, test-certmanager and test-chart recorded; run these before.
	@RIGHTS_USED=$(RIGHTS) HELM=$$($(TOOL) helm) go test -count=1 ./test/rights/

.PHONY: test-restore
test-restore: ## Operator and master go on when etcd is restored from a snapshot while they run.
	@KUBEBUILDER_ASSETS=$$($(ASSETS)) go test -count=1 -timeout 10m ./test/restore/

.PHONY: test-trust
test-trust: ## How soon a session ends whose certificate is revoked, and that no key is written anywhere; operator, masters and nodes as processes.
	@KUBEBUILDER_ASSETS=$$($(ASSETS)) go test -count=1 -timeout 10m -v ./test/trust/

.PHONY: test-outage
test-outage: ## What nodes notice of an API server that is away and of a master that is deleted: processes, two minutes.
	@KUBEBUILDER_ASSETS=$$($(ASSETS)) go test -count=1 -timeout 10m -v ./test/outage/

.PHONY: outage
outage: ## The same for every kind of outage, 40 minutes. It ends with a table. make bench-outage does it with many nodes.
	@KUBEBUILDER_ASSETS=$$($(ASSETS)) go test -count=1 -timeout 90m -v ./test/outage/ -all

.PHONY: test-chart
test-chart: ## The Helm chart: the same objects as config/default, every value, and installations on a real API server.
	@KUBEBUILDER_ASSETS=$$($(ASSETS)) RIGHTS_USED=$(RIGHTS) HELM=$$($(TOOL) helm) KUBECTL=$$($(ASSETS))/kubectl go test -count=1 ./test/chart/

.PHONY: test-alerts
test-alerts: ## The chart's alerts, each firing and not firing, by promtool of Debian's package prometheus, and their pages in docs/runbooks.
	@HELM=$$($(TOOL) helm) PROMTOOL=$$($(TOOL) promtool) && export HELM PROMTOOL && go test -count=1 ./test/alerts/

.PHONY: test-policies
test-policies: ## The NetworkPolicies of operator, chart and docs/network.md let through what is listed there, and nothing else.
	@HELM=$$($(TOOL) helm) go -C hack/policies test -count=1 ./...

.PHONY: test-e2e
test-e2e: cluster-up images ## Everything end to end on the local cluster. FOCUS=text runs the specs that match it.
	@KUBECONFIG=$$($(MAKE) -s kubeconfig) HELM=$$($(TOOL) helm) KUBECTL=$$($(ASSETS))/kubectl PATH="$$($(ASSETS)):$$PATH" \
		go test -count=1 -timeout 40m -v ./test/e2e/ -ginkgo.v $(if $(FOCUS),-ginkgo.focus="$(FOCUS)")

.PHONY: test-demo
test-demo: ## What the README tells to type: make demo, the tour, make demo-down.
	@PATH="$$($(ASSETS)):$$PATH" go test -count=1 -timeout 40m -v ./test/demo/

.PHONY: lint
lint: ## golangci-lint, with the rules of .golangci.yml, over every module; actionlint over the workflows.
	@$$($(TOOL) actionlint) .github/workflows/*.yml
	@lint=$$($(TOOL) golangci-lint); for module in . hack/cluster hack/image hack/bench hack/release hack/certmanager hack/policies; do (cd $$module && $$lint run ./...); done

.PHONY: vulncheck
vulncheck: ## Known vulnerabilities in what the programs call. It asks the vulnerability database of Go over the network.
	@$$($(TOOL) govulncheck) ./...

##@ Build it

.PHONY: build
build: ## The binaries, into bin/: operator, master, refinery, conformance and the kubectl plugin kubectl-refinery.
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o bin/ ./cmd/...

.PHONY: generate
generate: ## Regenerate everything that is generated: deep copies, apply configurations, CRDs, roles, chart, lists of conditions, docs/conditions.md, docs/chart-values.md, docs/metrics.md, the version.
	@controller_gen=$$($(TOOL) controller-gen); \
	$$controller_gen object:headerFile=hack/boilerplate.go.txt paths=./api/...; \
	go test ./api/v1alpha1/ -run GeneratedFromTheDefinitions -update >/dev/null; \
	$$controller_gen applyconfiguration:headerFile=hack/boilerplate.go.txt paths=./api/...; \
	$$controller_gen crd paths=./api/... output:crd:dir=config/crd/bases; \
	$$controller_gen rbac:roleName=refinery-operator paths=./controllers/... output:rbac:dir=config/rbac; \
	hack/release/stamp; \
	hack/chart/generate; \
	go test ./test/chart/ -run GeneratedFromTheirComments -update >/dev/null; \
	go test -p 1 ./internal/operator ./internal/master ./internal/agent -run ThePageOfMetrics -update >/dev/null # one after the other: they write one page

.PHONY: verify
verify: ## Fail when a generated file, a go.mod or the formatting is not current.
	@hack/verify

.PHONY: version
version: # The version of this checkout, and nothing else.
	@echo $(VERSION)

.PHONY: image-tag
image-tag: # A tag that changes with the source of the images, and nothing else.
	@echo dev-$$(git ls-files -z --cached --others --exclude-standard api cmd controllers internal protocol go.mod go.sum | xargs -0 sha256sum 2>/dev/null | sha256sum | cut -c1-12)

.PHONY: test-packages
test-packages: # The race detector needs a C compiler, and the example of a node in another language needs Python.
	@command -v gcc >/dev/null && command -v python3 >/dev/null || { \
		echo "installing gcc and python3 for the tests"; \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev python3 >/dev/null; }

##@ Help

.PHONY: help
help: ## This list.
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
