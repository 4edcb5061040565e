# Nothing here needs BuildKit, so that plain builders (buildah, kaniko) make the same
# image. tools/image/build.sh builds it where there is no Docker engine.

FROM golang:1.26-alpine AS build
WORKDIR /src
# A module proxy other than Go's default: --build-arg GOPROXY=…
ARG GOPROXY
# A layer of its own: modules are downloaded again only when these two files change.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
# Without cgo the binary needs no C library, which the image does not have.
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /etl ./cmd/etl

# Nothing but the binary and CA certificates: no shell, no package manager, nothing to
# keep up to date. Time zones are in the binary. Probes are HTTP and belong to the
# orchestrator; a HEALTHCHECK would need a program to run.
FROM scratch
ARG VERSION=dev
LABEL org.opencontainers.image.title="etl" \
      org.opencontainers.image.description="Finds the products that the Cart Service is missing, replays them, proves that they arrived" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /etl /etl
# Numeric: Kubernetes cannot tell that a name is not root (runAsNonRoot).
USER 65532:65532
EXPOSE 4000
ENTRYPOINT ["/etl"]
CMD ["serve"]
