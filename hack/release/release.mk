# The files of a release; see docs/development/release.md.
# What the images' names begin with, and where people will find the files.
IMAGE_PREFIX ?= refinery-operator
DOWNLOAD_URL ?=

RELEASE = go -C hack/release run . --repository=$(CURDIR) --helm=$$($(TOOL) helm)

##@ Release it

.PHONY: release
release: ## All files of a release of this commit, into dist/: images, chart, install.yaml, plugin, agent, SBOMs, checksums. No network.
	@$(RELEASE) --output=$(CURDIR)/dist --image-prefix=$(IMAGE_PREFIX) --download-url=$(DOWNLOAD_URL)

.PHONY: release-reproducible
release-reproducible: release ## The release again, in another folder and with an empty build cache: fails unless every file is the same.
	@again=$$(mktemp -d); trap 'chmod -R u+w $$again; rm -rf $$again' EXIT; \
	helm=$$($(TOOL) helm); GOCACHE=$$again/cache TMPDIR=$$again go -C hack/release run . --repository=$(CURDIR) --helm=$$helm --output=$$again/dist \
		--image-prefix=$(IMAGE_PREFIX) --download-url=$(DOWNLOAD_URL); \
	diff dist/SHA256SUMS $$again/dist/SHA256SUMS && echo "every file is the same"

.PHONY: test-release
test-release: ## A release of programs in small, twice: all files are there, right, and the same. The agent's image twice, as it is.
	@HELM=$$($(TOOL) helm) go -C hack/release test -count=1 ./...
