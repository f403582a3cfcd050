# Two commands for everybody: make demo, make test. Each sets up what it needs first.
SHELL := /bin/bash
export PATH := $(HOME)/.cargo/bin:$(PATH)

FUZZ_SECONDS ?= 600

.PHONY: setup setup-build build demo test chaos lint fuzz bench-setup bench bench-full bench-ask bench-slow bench-scan screenshots clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 16

setup: ## install everything that building and testing need
	scripts/setup.sh test

setup-build:
	@scripts/setup.sh build

build: setup-build ## build all programs into target/debug
	cargo build --workspace --bins

demo: build ## index demo pictures on this machine and search "a yellow car"
	scripts/demo.sh

test: setup ## run every test
	cargo build --workspace --bins
	cargo test --workspace --no-fail-fast

# A seed alone is run once; without one the clock gives the first of a hundred.
chaos: setup ## 100 rounds in which programs are killed and hosts switched off; IMAGEFLEET_CHAOS_SEED=N repeats one
	cargo build --workspace --bins
	IMAGEFLEET_CHAOS_ROUNDS=$(or $(IMAGEFLEET_CHAOS_ROUNDS),$(if $(IMAGEFLEET_CHAOS_SEED),1,100)) \
	IMAGEFLEET_CHAOS_SEED=$(or $(IMAGEFLEET_CHAOS_SEED),$(shell date +%s)) \
	cargo test --workspace --test chaos -- --nocapture
	IMAGEFLEET_INTERRUPTS=$(or $(IMAGEFLEET_CHAOS_ROUNDS),$(if $(IMAGEFLEET_CHAOS_SEED),1,100)) \
	IMAGEFLEET_CHAOS_SEED=$(or $(IMAGEFLEET_CHAOS_SEED),$(shell date +%s)) \
	cargo test --workspace --test interrupts ctrl_c_at_any_moment -- --nocapture

lint: setup ## formatting, clippy, licences, shell scripts
	cargo fmt --all --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo clippy --workspace --all-targets -- -D warnings
	cargo deny --offline check licenses bans sources
	shellcheck scripts/*.sh fuzz/rustc.sh setup_workers.sh .ci/run

fuzz: setup-build ## feed hostile inputs to every reader, FUZZ_SECONDS each
	scripts/fuzz.sh $(FUZZ_SECONDS)

bench-setup: setup ## install the peers, models and photos that make bench compares with
	bench/setup.sh

bench: ## images/s beside the Python pipeline, in turn, and the deviation
	bench/run.sh

bench-full: setup ## make bench with fp32, ViT-L/14, memory over 50,000 pictures, and a merge of 5,000,000 (hours, 40 GB)
	bench/setup.sh full
	bench/run.sh --full
	mkdir -p target/bench-merge
	target/debug/examples/merge_size 5000000 512 target/bench-merge

bench-ask: bench-setup ## milliseconds a question takes: among 1,000,000 vectors beside the Python way (6 GB of disk), and over SSH
	cargo build --workspace --bins --examples
	$(or $(IMAGEFLEET_BENCH_PYTHON),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/imagefleet/bench-python/bin/python) bench/ask.py \
		$(or $(IMAGEFLEET_BENCH_DATA),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/imagefleet/bench)
	target/debug/examples/bench_ask

bench-slow: setup ## what a host costs that is four times slower than its weight says
	cargo build --workspace --bins --examples
	target/debug/examples/bench_slow

bench-scan: setup ## a run that finds nothing to do, beside a bare walk of the same files
	cargo build --workspace --bins --examples
	target/debug/examples/bench_scan

screenshots: setup demo ## make the pictures of the README anew
	scripts/screenshots.sh

clean: ## remove what was built
	cargo clean
