# `make help` lists the targets. Everything runs on a private stack of services
# (tools/stack); nothing is started or installed system-wide but the tool that
# builds its root file system.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/etl-stack
TOOLS := $(CACHE)/tools
STACK := bin/stack
# Where tests find what is no server: a browser, the accessibility engine, what tests alerts.
TOOLS_OF_TESTS = browser=$$($(STACK) browser) && promtool=$$($(STACK) promtool) && \
	STACK_BROWSER=$$browser STACK_PROMTOOL=$$promtool STACK_AXE=$(abspath $(AXE))
AXE := tools/axe/node_modules/axe-core/axe.min.js
BENCH ?= Compare|Direct|Write|Publish|Replay|Beside|Memory|Freshness
BENCH_ROUNDS ?= 5
# One round of these holds many measurements, or one that the next would only repeat.
BENCH_ONCE := Beside|Memory|Freshness
BENCH_OFTEN := Compare|Direct|Replay
# The tests wait for servers more than they work, so that three packages fit two cores.
GO_TEST := -count=1 -timeout 25m -p 3

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: up ## lose 2,000 events, find them, replay them, prove it; then once more directly
	go run ./internal/demo

.PHONY: demo-service
demo-service: up ## the same through etl serve: HTTP, messages, a restart; KEEP=1 leaves it running until Ctrl-C
	go run ./internal/demo service $(if $(KEEP),--keep)

.PHONY: test
test: $(STACK) $(AXE) ## run all tests against a stack of their own, those of the pages in a browser
	$(TOOLS_OF_TESTS) \
	STACK_NAME=$${STACK_NAME:-test} $(STACK) run -- bash -euo pipefail -c ' \
		go test $(GO_TEST) ./...; \
		go test -C tools/stack $(GO_TEST) ./...'

.PHONY: test-next
test-next: $(STACK) $(AXE) ## run the same with the race detector against the newest servers: PostgreSQL 18, RabbitMQ with quorum queues
	$(TOOLS_OF_TESTS) \
	STACK_PROFILE=next STACK_NAME=$${STACK_NAME:-test-next} $(STACK) run -- bash -euo pipefail -c ' \
		go test -race $(GO_TEST) ./...; \
		go test -C tools/stack -race $(GO_TEST) ./...'

.PHONY: test-long
test-long: $(STACK) ## run the tests that take minutes by nature: 5,000,000 outcomes, 1,000,000 products, upgrades, a pod's life
	LONG_TESTS=1 STACK_NAME=$${STACK_NAME:-test-long} $(STACK) run -- go test -count=1 -timeout 30m -run '^TestLong' \
		./cmd/etl ./internal/ledger

.PHONY: pods-life
pods-life: $(STACK) ## start a service, take its servers away, upgrade, end and kill it; print what it says at each step
	LONG_TESTS=1 STACK_NAME=$${STACK_NAME:-pods-life} $(STACK) run -- go test -count=1 -v -timeout 30m -run '^TestLongPodsLife$$' ./cmd/etl

.PHONY: test-all
test-all: test test-next test-long ## run all of these

.PHONY: lint
lint: $(TOOLS)/golangci-lint ## go vet and the linters, the arrows between packages among them
	go vet ./...
	$(TOOLS)/golangci-lint run ./...
	cd tools/stack && go vet ./... && $(TOOLS)/golangci-lint run ./...

.PHONY: bench
bench: $(STACK) ## measure against plain clients of the three services, and make the table of BENCHMARKS.md; BENCH picks lines
	@mkdir -p bin
	STACK_NAME=$${STACK_NAME:-bench} $(STACK) run -- bash -euo pipefail -c ' \
		go test -run "^\$$" -bench "^Benchmark($(BENCH))" -skip "$(BENCH_ONCE)" -benchtime $(BENCH_ROUNDS)x -timeout 60m ./cmd/etl; \
		go test -run "^\$$" -bench "^Benchmark($(BENCH))" -skip "$(BENCH_OFTEN)" -benchtime 1x -timeout 60m ./cmd/etl; \
		go test -run "^\$$" -bench "^Benchmark($(BENCH))" -benchtime 1x -count $(BENCH_ROUNDS) -timeout 60m ./internal/target ./producer' | tee bin/bench.txt
	go run ./internal/benchtable < bin/bench.txt

.PHONY: build
build: ## build the binary into bin/
	CGO_ENABLED=0 go build -trimpath -ldflags "-X main.version=$$(git describe --always --dirty 2>/dev/null || echo dev)" -o bin/etl ./cmd/etl

.PHONY: image
image: ## build the image without a Docker engine, run what is in it (Debian, root)
	CACHE=$(CACHE) tools/image/build.sh

.PHONY: up
up: $(STACK) ## start the stack: MongoDB's protocol, PostgreSQL, RabbitMQ
	@$(STACK) up

.PHONY: down
down: $(STACK) ## stop the stack and drop its data
	@$(STACK) down

.PHONY: status
status: $(STACK) ## show the stack's URLs, the management UI's among them
	@$(STACK) status

# The stack is a module of its own, and so is what pins the linter, so that the product's
# go.mod stays clean.
.PHONY: $(STACK)
$(STACK):
	go build -C tools/stack -o ../../$@ ./cmd/stack

$(AXE): tools/axe/package-lock.json
	npm ci --prefix tools/axe --no-audit --no-fund --silent
	@touch $@

$(TOOLS)/golangci-lint: tools/lint/go.mod
	go build -C tools/lint -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
