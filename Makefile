# quant: what there is to do. `make` lists it.

.DEFAULT_GOAL := help
GO ?= go

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 14

build: ## build bin/quant
	$(GO) build -buildvcs=auto -o bin/quant ./cmd/quant

demo: ## the whole job on real prices, in ./quant-demo
	$(GO) run ./cmd/quant demo

test: ## every test, as in the README
	$(GO) test ./...

soak: ## the tests that scale, with their full counts (kills, storms, a million runs) and another seed
	@export QUANT_SEED=$${QUANT_SEED:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')} QUANT_SOAK=1; echo "QUANT_SEED=$$QUANT_SEED"; \
	$(GO) test -count=1 -timeout 120m $$($(GO) run ./internal/test/ci soak)

faults: ## kills, errors and full disks at every kind of system call of the commands that change something
	@export QUANT_SEED=$${QUANT_SEED:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')} QUANT_SOAK=1; echo "QUANT_SEED=$$QUANT_SEED"; \
	log=$$(mktemp); $(GO) test -count=1 -timeout 120m -v ./internal/test/faults >$$log 2>&1; status=$$?; \
	grep -vE '^ *(=== |--- PASS)' $$log; rm -f $$log; exit $$status

race: ## the race detector where there is concurrency, tests shuffled
	$(GO) test -race -shuffle=on -count=1 -timeout 60m $$($(GO) run ./internal/test/ci race)

lint: ## gofmt, golangci-lint with go vet and the import arrows (pinned in tools/go.mod)
	@test -z "$$(gofmt -l . | tee /dev/stderr)"
	$(GO) tool -modfile=tools/go.mod golangci-lint run ./...

generate: ## write docs/man and docs/cli.md anew from the command tree, docs/api.md from the routes of the API
	$(GO) run ./internal/cli/generate

fuzz: ## every fuzz target for 20 seconds
	./.ci/fuzz 20s

bench: ## measure, against the bounds of docs/benchmarks.md; PEERS=1: against Polars, NumPy and others from PyPI
	$(GO) run ./bench $(if $(PEERS),-peers)

guard: ## whether the chain became slower than bench/guard.json says
	$(GO) run ./bench -guard

ci: ## what CI does
	./.ci/run

nightly: ## what CI has no time for: race detector and full counts over everything
	./.ci/nightly

.PHONY: help build demo test soak faults race lint generate fuzz bench guard ci nightly
