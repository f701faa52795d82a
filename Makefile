# Everything a person or CI does with this tree; `make` lists it. A second call of a target does no work twice.

PYTHON ?= python3
ARGS ?=
DIST ?= dist
ARCH ?= $(shell uname -m)
VENV := .venv
BIN := $(VENV)/bin

# Debian packages: compilers and libraries of the build, and the tools that tests and checks call; what makes
# wheels and bundles; what tries these and the image.
PACKAGES := ca-certificates clang clang-format gcc libbpf-dev libc6-dev llvm lz4 openssl python3 python3-dev python3-venv \
	xz-utils zstd bpftool
RELEASE_PACKAGES := dpkg-dev lld
VM_PACKAGES := cpio e2fsprogs qemu-system-arm qemu-system-x86
TEST_PACKAGES := $(VM_PACKAGES) mmdebstrap podman qemu-user-static runc

BPF_SOURCES := $(wildcard bpf/src/*.c bpf/src/*.h bpf/headers/*.h)
OBJECTS := oomtracer/bpf/oomtracer.x86.bpf.o oomtracer/bpf/oomtracer.arm64.bpf.o
NATIVE_SOURCES := $(wildcard oomtracer/libbpf/native*.[ch]) bpf/headers/oom_event.h build_bpf.py
EXTENSION := oomtracer/_native.abi3.so
FORMATTED := $(wildcard bpf/src/*.c bpf/src/*.h) bpf/headers/oom_event.h bpf/headers/vmlinux.h oomtracer/libbpf/native.c oomtracer/libbpf/native_ring.h \
	tests/fuzz/ring_fuzzer.c

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: help build run test check fuzz vm soak bench wheel wheels bundle headers object format clean packages

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

build: $(OBJECTS) $(EXTENSION) ## install what is missing, build everything: then .venv/bin/oomtracer works

run: ## build, then trace this host's OOM kills; flags in ARGS="..."
	@$(MAKE) --no-print-directory build >&2
	@$(BIN)/oomtracer run $(ARGS)

test: build ## build, then run all tests, real OOM kills included (as root)
	@test "$$(id -u)" -eq 0 || echo "not root: tests that make real OOM kills are skipped" >&2
	@test "$$(id -u)" -ne 0 || export OOMTRACER_KERNEL_TESTS=1; $(BIN)/python -m pytest $(ARGS)

vm: wheels ## run the tests in guests with other kernels; KERNEL=6.1 ARCH=aarch64 KIND=systemd BRIEF=1 TEST="-k storm"
	$(BIN)/python -m tests.vm --wheels $(DIST) $(if $(KERNEL),--kernel $(KERNEL)) $(if $(filter command,$(origin ARCH)),--arch $(ARCH)) \
		$(if $(CGROUP),--cgroup $(CGROUP)) $(if $(KIND),--kind $(KIND)) $(if $(BRIEF),--brief) $(if $(TEST),--test='$(TEST)')

fuzz: build .cache/ring_fuzzer ## try random inputs by the million; ARGS="cgroup watch --count 100000 --seed 1"
	mkdir -p .cache/ring_corpus
	.cache/ring_fuzzer -runs=1000000 -max_len=1100 -verbosity=0 -print_final_stats=1 .cache/ring_corpus tests/fuzz/findings/ring
	$(BIN)/python -m tests.fuzz $(ARGS)

check: build ## lint, formatting, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	clang-format --dry-run -Werror $(FORMATTED)
	$(BIN)/python -m pytest -q tests/docs

format: build ## rewrite the sources in the form that `make check` demands
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	clang-format -i $(FORMATTED)

soak: build ## 10,000 kills in a row, then kill the agent 1,000 times during kills, as root; CYCLES=100 SEED=7
	$(BIN)/python -m tests.kernel.endurance
	$(BIN)/python -m tests.kernel.crashes $(if $(CYCLES),--cycles $(CYCLES)) $(if $(SEED),--seed $(SEED))

bench: build ## measure start, latency, memory and throughput on this machine
	@$(BIN)/python bench $(ARGS)

wheel: .cache/sysroot/$(ARCH)/.made $(VENV)/.installed ## build dist/*.whl with its libraries inside, and the sdist; ARCH=x86_64 or aarch64
	@rm -f $(DIST)/*_$(ARCH).whl
	PYTHON=$(BIN)/python release/wheel $(ARCH) .cache/sysroot/$(ARCH) $(DIST)
	@ls -l $(DIST)

wheels: ## build the wheels of both architectures
	+@$(MAKE) --no-print-directory wheel ARCH=x86_64
	+@$(MAKE) --no-print-directory wheel ARCH=aarch64

bundle: wheel ## build dist/oomtracer-*-linux-*.tar.gz for hosts with an old Python; ARCH=x86_64 or aarch64
	@rm -f $(DIST)/*-linux-$(ARCH).tar.gz
	PYTHON=$(BIN)/python release/bundle $(ARCH) $(DIST)/*_$(ARCH).whl build/bundle/$(ARCH)/oomtracer
	name=$$(basename $(DIST)/*_$(ARCH).whl | cut -d - -f 1-2); tar -C build/bundle/$(ARCH) --owner 0 --group 0 \
		--numeric-owner --sort name -czf $(DIST)/$$name-linux-$(ARCH).tar.gz oomtracer
	@ls -l $(DIST)

test: PACKAGES += $(RELEASE_PACKAGES) $(if $(filter 0,$(shell id -u)),$(TEST_PACKAGES))
wheel bundle: PACKAGES += $(RELEASE_PACKAGES)
vm: PACKAGES += $(VM_PACKAGES)
fuzz: PACKAGES += libclang-rt-dev

object: $(OBJECTS) ## compile the BPF program for every architecture

headers: | packages ## regenerate bpf/headers/vmlinux_generated_*.h from Debian's kernels
	PYTHON=$(PYTHON) bpf/headers/from-debian

clean: ## remove everything that a build made, the virtual environment included
	rm -rf $(VENV) .cache build dist *.egg-info oomtracer/bpf oomtracer/_native.*so
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Asked anew at every call, since somebody may have removed a package; order-only, so that nothing is rebuilt for
# it. Where there is no Debian, the build itself says which tool it misses.
packages:
	@command -v dpkg-query >/dev/null || exit 0; \
	set -- $$(for package in $(PACKAGES); do \
		dpkg-query -W -f '$${db:Status-Status}\n' $$package 2>/dev/null | grep -qx installed || echo $$package; done); \
	test $$# -gt 0 || exit 0; \
	test "$$(id -u)" -eq 0 || { \
		printf 'error: packages are missing: %s\nhint: as root: apt-get install %s\n' "$$*" "$$*" >&2; exit 1; }; \
	echo "installing $$*"; \
	export DEBIAN_FRONTEND=noninteractive; \
	install="apt-get install -qq --no-install-recommends"; \
	$$install "$$@" >/dev/null 2>&1 || { apt-get update -qq && $$install "$$@" >/dev/null; }

oomtracer/bpf/oomtracer.%.bpf.o: $(BPF_SOURCES) build_bpf.py | packages
	$(PYTHON) build_bpf.py object --arch $*

# A wheel is not built against this machine's libraries: the same clang makes those of both architectures.
.cache/sysroot/%/.made: release/sysroot release/private-apt | packages
	release/sysroot $* $(@D)
	@touch $@

# The package itself (editable) with its development tools. An environment knows its own path: the stamp holds it,
# so that one that was copied or moved with the tree is made anew.
ifneq ($(shell cat $(VENV)/.installed 2>/dev/null),$(CURDIR))
.PHONY: $(VENV)/.installed
endif
$(VENV)/.installed: pyproject.toml | packages
	test "$$(cat $@ 2>/dev/null)" = "$(CURDIR)" || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@echo '$(CURDIR)' >$@

# The C that reads the ring, where a byte too far is seen. The sanitizer's library is a package of each clang.
.cache/ring_fuzzer: tests/fuzz/ring_fuzzer.c oomtracer/libbpf/native_ring.h | packages
	@mkdir -p $(@D)
	clang -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -Wall -Werror -Ioomtracer/libbpf -o $@ $<

# Installing the package builds this too; the rule is for a source that changed since.
$(EXTENSION): $(NATIVE_SOURCES) | $(VENV)/.installed
	$(BIN)/python build_bpf.py extension
	@touch $@
