# The front door. Each target does the set-up that it needs; V=1 shows what the called programs say.
#
#   make test      everything that the tests need, the build, the tests
#   make demo      creates the whole platform of manifests/dev-seb.yaml in a local sandbox
#   make help      all targets

CACHE  := $(abspath $(or $(WSRUN_CACHE),.cache))
BUILD  ?= build
PREFIX ?= /usr/local
JOBS   ?= $(shell nproc)

export WSRUN_CACHE := $(CACHE)
export PATH := $(CACHE)/tools/bin:$(PATH)
export JOBS V
# git must fail rather than ask for a password that nobody types.
export GIT_TERMINAL_PROMPT := 0

MAKEFLAGS += --no-print-directory
CTEST = ctest --output-on-failure --parallel $(JOBS)

.DEFAULT_GOAL := build
.PHONY: help deps build test asan lint format demo bench install clean

help: ## this list
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 22

deps: ## gets the packages and programs that build, run, tests and lint need
	@tools/deps.sh

build: ## build/wsrun
	@tools/deps.sh build
	@tools/build.sh $(BUILD)

test: ## build, and every test
	@tools/deps.sh build run test
	@tools/build.sh $(BUILD)
	@$(CTEST) --test-dir $(BUILD)

asan: ## every test under the address and undefined-behaviour sanitizers, again with the most aggressive collector
	@tools/deps.sh build run test
	@tools/build.sh $(BUILD)-asan -DWSRUN_ASAN=ON
	@WSRUN_TEST_SLOW=5 $(CTEST) --test-dir $(BUILD)-asan
	@WSRUN_TEST_SLOW=20 WSRUN_TEST_GC=1 $(CTEST) --test-dir $(BUILD)-asan

lint: ## formatting, static analysis, documentation in step with the code
	@tools/deps.sh build run lint
	@tools/build.sh $(BUILD)
	@tools/lint.sh $(BUILD)

format: ## rewrites C, Terraform and Go in the form that lint wants
	@git ls-files --cached --others --exclude-standard '*.c' '*.h' | xargs -r clang-format -i
	@terraform fmt -recursive layers
	@gofmt -w app/src

demo: ## the whole platform of manifests/dev-seb.yaml in a local sandbox
	@tools/deps.sh build run
	@tools/build.sh $(BUILD)
	@tests/demo.sh $(BUILD)/wsrun

bench: ## measures against peers; writes docs/benchmarks.md
	@tools/deps.sh build run bench
	@tools/build.sh $(BUILD)
	@PYTHONDONTWRITEBYTECODE=1 $(CACHE)/tools/bench-python/bin/python tests/bench/run.py $(BUILD)

install: ## into PREFIX (default /usr/local), below DESTDIR
	@tools/deps.sh build
	@tools/build.sh $(BUILD)
	@cmake --install $(BUILD) --prefix $(PREFIX)

clean: ## removes the build folders; the cache of downloaded programs stays
	rm -rf $(BUILD) $(BUILD)-asan
