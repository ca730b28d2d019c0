# One command each; every one does its own set-up. `make help` lists them.
SHELL := /bin/bash
SWIFT_BUILD := swift build -c release
PLUMBLINE := .build/release/plumbline
SOURCES := Package.swift Sources Tests rewards

.PHONY: help build demo smollm2 test test-long bench format lint libtorch clean

help: ## what each target does
	@grep -hE '^[a-z0-9-]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 14

libtorch:
	@.ci/libtorch

build: libtorch ## the command, .build/release/plumbline
	@$(SWIFT_BUILD) --product plumbline

demo: build ## a small policy learns arithmetic in minutes, from nothing (DEMO=smoke: seconds)
	@prompts/arithmetic/demo.sh $(PLUMBLINE) $(DEMO)

smollm2: build ## a published model of 135 M parameters learns to keep instructions; it says how long that takes (SMOLLM2=lora, constrained, smoke)
	@prompts/following/smollm2.sh $(PLUMBLINE) $(SMOLLM2)

# A few tests at a time: started all at once, each of them waits for its next turn behind a thousand others, and no limit
# on a time means anything.
test: export SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH ?= 6
test: libtorch ## every test, the smoke demo among them
	@$(SWIFT_BUILD) --build-tests
	@OMP_NUM_THREADS=1 swift test -c release --skip-build --disable-testable-imports

test-long: export PLUMBLINE_LONG_TESTS = 1
test-long: test ## the same with 100,000 mutations a parser, and long fault tests

bench: build ## times a step, a rollout and an update (PEERS_PYTHON=… puts TRL, PyTorch and llama.cpp beside them)
	@$(PLUMBLINE) bench suite $(if $(PEERS_PYTHON),--peers-python $(PEERS_PYTHON))

format: ## format every Swift file
	@swift format -i -r $(SOURCES)

lint: ## check the format of every Swift file
	@swift format lint --strict -r $(SOURCES)

clean: ## remove what was built
	@rm -rf .build
