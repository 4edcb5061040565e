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
ARG REVISION
# Without cgo the binary needs no C library, which the image does not have.
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION} -X main.built=${REVISION}" -o /etl ./cmd/etl

# Nothing but the binary and CA certificates: no shell, no package manager, nothing to
# keep up to date. Time zones are in the binary. Kubernetes probes by HTTP; the health check
# is for those who run the image without it.
FROM scratch
ARG VERSION=dev
ARG REVISION
LABEL org.opencontainers.image.title="etl" \
      org.opencontainers.image.description="Finds the products that the Cart Service is missing, replays them, proves that they arrived" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /etl /etl
# Numeric: Kubernetes cannot tell that a name is not root (runAsNonRoot).
USER 65532:65532
EXPOSE 4000
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s CMD ["/etl", "health"]
ENTRYPOINT ["/etl"]
CMD ["serve"]
