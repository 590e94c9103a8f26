# One build, three images: --target operator, master or refinery.
#
#   docker build --target operator --build-arg VERSION=0.1.0 --tag refinery-operator/operator:0.1.0 .
#
# Each is one static binary that runs as a user without rights, over a base without a shell.
ARG GO_IMAGE=golang:1.26
ARG BASE_IMAGE=gcr.io/distroless/static:nonroot

FROM ${GO_IMAGE} AS build
ARG TARGETARCH
ARG VERSION=dev
WORKDIR /src
COPY . .
# A semantic version is written into the binaries; with any other they keep the one of the source.
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    case "${VERSION}" in \
    [0-9]*.[0-9]*.[0-9]*) version="-X github.com/refinery-operator/refinery-operator/internal/version.Version=${VERSION}" ;; \
    esac && \
    CGO_ENABLED=0 GOOS=linux GOARCH=${TARGETARCH} go build -buildvcs=false -trimpath -ldflags "-s -w ${version:-}" -o /out/ \
    ./cmd/operator ./cmd/master ./cmd/refinery

FROM ${BASE_IMAGE} AS base
ARG VERSION=dev
ARG COMMIT=
LABEL org.opencontainers.image.source=https://github.com/refinery-operator/refinery-operator \
      org.opencontainers.image.version=${VERSION} \
      org.opencontainers.image.revision=${COMMIT}
WORKDIR /
USER 65532:65532

FROM base AS operator
LABEL org.opencontainers.image.title=refinery-operator/operator
COPY --from=build /out/operator /operator
ENTRYPOINT ["/operator"]

FROM base AS master
LABEL org.opencontainers.image.title=refinery-operator/master
COPY --from=build /out/master /master
ENTRYPOINT ["/master"]

FROM base AS refinery
LABEL org.opencontainers.image.title=refinery-operator/refinery
COPY --from=build /out/refinery /refinery
ENTRYPOINT ["/refinery"]
