# The targets that people and CI share. `make help` lists them.

# go.mod names the toolchain with today's security fixes; let go fetch it.
export GOTOOLCHAIN := auto
export CGO_ENABLED ?= 1

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
LINT    := bin/golangci-lint

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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
	@[ "$$(id -u)" != 0 ] || scripts/need ip ping nginx curl strace || true
	go vet ./...
	go test -timeout 9m ./...
	@go run ./lab/cmd/lab check || echo 'So the tests on emulated links were skipped.'

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

.PHONY: sim
sim: ## the congestion controller on 200 random links, in virtual time
	JUMPGET_SIM_LINKS=200 go test -v -run TestRandomLinks ./internal/congestion

.PHONY: bench-loopback
bench-loopback: ## loopback throughput and memory, against curl and nginx
	@scripts/need ssh sshd nginx curl
	go run ./internal/e2e/loopback

.PHONY: bench-setup
bench-setup: ## what bench needs, and the programs that JumpGet is measured against
	scripts/bench-setup

.PHONY: bench
bench: build bin/lab ## measure all on every link and write docs/performance.md; root, hours
	scripts/bench

# JumpGet against the two that are best without being told the link's rate.
HYSTERIA    := $(if $(shell command -v hysteria),hysteria2)
QUICK_PEERS := jumpget,aria2-bbr,$(or $(HYSTERIA),wget-bbr)

.PHONY: bench-quick
bench-quick: build bin/lab ## JumpGet and two others on every link, 10 MB; root, four minutes
	@mkdir -p lab-out && rm -f lab-out/quick.jsonl
	bin/lab bench --prefix bench-quick --mb 10 -n 1 --parallel-rate 200 --peers $(QUICK_PEERS) --out lab-out/quick.jsonl

# The best of the others, hysteria2 with the link's rate set by hand included.
comma        := ,
RANDOM_PEERS := jumpget,jumpget-session,$(if $(HYSTERIA),hysteria2$(comma)hysteria2-brutal$(comma))aria2-bbr,wget-bbr
N            ?= 20
SEED         ?= 1

.PHONY: bench-random
bench-random: build bin/lab ## JumpGet and the best others on N links drawn at random from SEED on, 10 s each; root
	@mkdir -p lab-out && rm -f lab-out/random.jsonl
	bin/lab bench --prefix bench-random --random $(N) --seed $(SEED) --seconds 10 -n 1 --parallel-rate 200 --peers $(RANDOM_PEERS) --out lab-out/random.jsonl

LINK ?= bad
.PHONY: lab
lab: bin/lab ## a shell behind a bad link, or behind LINK=name; root
	bin/lab shell $(LINK)

.PHONY: bin/lab
bin/lab:
	go build -o bin/lab ./lab/cmd/lab

.PHONY: clean
clean: ## what make has made
	rm -rf bin dist
