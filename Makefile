# The targets that people and CI share. `make help` lists them.

# go.mod names the toolchain with today's security fixes; let go fetch it.
export GOTOOLCHAIN := auto
export CGO_ENABLED ?= 1

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
LINT    := bin/golangci-lint

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## the program, as bin/jumpget
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/jumpget ./cmd/jumpget

.PHONY: try
try: ## the main job on this machine, through an embedded relay
	@scripts/need ssh
	go run ./cmd/jumpget try

.PHONY: test
test: ## every test, with the race detector where it pays; needs sshd
	@scripts/need ssh sshd
	go vet ./...
	go test -timeout 9m ./...

.PHONY: race
race: ## every test under the race detector
	@scripts/need ssh sshd cc
	go test -race -timeout 20m ./...

.PHONY: cross
cross: ## build and vet for every system we ship to
	scripts/cross

.PHONY: lint
lint: $(LINT) ## the linters, with the layers
	$(LINT) run ./...

$(LINT): tools/go.mod tools/go.sum
	cd tools && go build -o ../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: fuzz
FUZZTIME ?= 20s
fuzz: ## each fuzz target for FUZZTIME
	scripts/fuzz $(FUZZTIME)

.PHONY: soak
soak: ## the kill -9 suite with a thousand kills
	@scripts/need ssh sshd
	JUMPGET_TEST_KILLS=1000 go test -timeout 80m -run Kill -v ./internal/e2e

.PHONY: bench-loopback
bench-loopback: ## loopback throughput and memory, against curl and nginx
	@scripts/need ssh sshd nginx curl
	go run ./internal/e2e/loopback

.PHONY: clean
clean: ## what make has made
	rm -rf bin dist
