# Two commands for everybody: make demo, make test. Each sets up what it needs first.
SHELL := /bin/bash
export PATH := $(HOME)/.cargo/bin:$(PATH)

.PHONY: setup setup-build build demo test lint bench-setup bench clean

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

lint: setup ## formatting, clippy, licences, shell scripts
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo deny --offline check licenses bans sources
	shellcheck scripts/*.sh setup_workers.sh .ci/run

bench-setup: setup ## install the peers, models and photos that make bench compares with
	bench/setup.sh

bench: ## images/s beside the Python pipeline, in turn, and the deviation
	bench/run.sh

clean: ## remove what was built
	cargo clean
