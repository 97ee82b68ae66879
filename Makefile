# build   the release binary
# demo    builds it, runs the example on real data, and ends by itself (root)
# test    every test, with the set-up it needs
# bench   what it costs: figures for this machine (root), beside others who do the same where they are installed. In full, as
#         docs/benchmarks.md has it: make bench API="10000 3" ARRAY="2000 5" GROWTH="1000 10000 100000" CRONJOBS="100000 10000"
# bench-setup  installs those others: runc, crun, podman, HyperQueue, Slurm, syft (and mmdebstrap, which makes images for it), and gets
#         Docker's default filter of system calls
# soak    seeded lives of the control plane, far more of them than `make test` plays (SOAK_SEEDS says how many); then many
#         tasks in a row through the whole program, of which nothing may stay (root; SOAK_TASKS)
# fuzz    every parser of foreign bytes under libFuzzer, FUZZ_SECONDS each (FUZZ="jwt cdi" for some of them); wants a C++ compiler
# vm      boots other machines in qemu and runs the tests of containers on them: Debian 12 (Linux 6.1) and 13 (6.12) with control
#         groups of version 2, Debian 12 with those of version 1. VM="debian-13" for one, VM_PARTS="doctor unit" for a part of the
#         tests (root; Debian's qemu-system-x86 and mmdebstrap; takes an hour or more)
# lint    format, clippy, licences and sources of dependencies, documentation
# Needed: Linux, Rust, a C compiler, make. What more a test needs is installed by `make test` when it may, else named.

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
# Pods, seconds a measurement; entries that are exported; of the sandbox alone: tasks, rounds, how many at a time (and the same for the
# price of each protection, for data arrays and for root file systems); of all: tasks, rounds; sizes of
# arrays; CronJobs, of them due in one minute; entries of the audit log; rounds of the catalogue of images, and the index of advisories that they are scanned by.
API ?= 2000 2
EXPORT ?= 50000
START ?= 500 3 1 2 4 32
PRICE ?= 300 3 2
LAYERED ?= 100 3 2
ROOTS ?= 200 3 4
ARRAY ?= 1000 3
GROWTH ?= 1000 10000
CRONJOBS ?= 10000 1000
AUDIT ?= 1000000
# Chunks of a data array, bytes of each, rounds, and a Python with icechunk and zarr to be beside.
DATA ?= 10000 4096 3 $(wildcard $(TARGET)/array-venv/bin/python)
CATALOG ?= 5
CATALOG_DB ?=
CARGO_DENY_VERSION := 0.20.2
# A cargo-deny of one's own is used; else one is built once, below the target directory.
DENY := $(or $(shell command -v cargo-deny 2>/dev/null),$(TARGET)/tools/bin/cargo-deny)

FUZZ_SECONDS ?= 60
FUZZ ?=

VM ?=

SOAK_SEEDS ?= 2000
SOAK_TASKS ?= 100000

.PHONY: build demo test soak fuzz vm test-setup bench bench-setup lint fmt clippy deny doc

build:
	$(CARGO) build --release --locked -p watchbell

demo:
	./examples/weather/demo.sh

test:
	./tools/test/run

soak:
	WATCHBELL_SIMULATION_SEEDS=$(SOAK_SEEDS) $(CARGO) test --release --locked -p watchbell-core many_simulated -- --ignored --nocapture
	$(CARGO) bench --locked -p watchbell --bench soak -- $(SOAK_TASKS)

fuzz:
	./tools/fuzz/run $(FUZZ_SECONDS) $(FUZZ)

vm:
	./tools/vm/run $(VM)

test-setup:
	./tools/test/setup

bench-setup:
	./tools/bench/setup

bench:
	$(CARGO) run --release --locked -p watchbell-core --example scale
	$(CARGO) run --release --locked -p watchbell-core --example rights
	$(CARGO) run --release --locked -p watchbell-core --example policies
	$(CARGO) run --release --locked -p watchbell-core --example image_policies
	$(CARGO) run --release --locked -p watchbell-store --example commit_rate
	$(CARGO) run --release --locked -p watchbell-store --example audit_rate -- $(AUDIT)
	$(CARGO) run --release --locked -p watchbell-advisory --example index
	$(CARGO) run --release --locked -p watchbell-array --example cost -- $(DATA)
	$(CARGO) bench --locked -p watchbell-sandbox --bench start -- $(START)
	$(CARGO) bench --locked -p watchbell-sandbox --bench start -- price $(PRICE)
	$(CARGO) bench --locked -p watchbell-sandbox --bench start -- layered $(LAYERED)
	$(CARGO) bench --locked -p watchbell-sandbox --bench start -- roots $(ROOTS)
	$(CARGO) bench --locked -p watchbell-server --bench api -- $(API)
	$(CARGO) bench --locked -p watchbell-export --bench export -- $(EXPORT)
	$(CARGO) build --release --locked -p watchbell
	$(CARGO) build --release --locked -p watchbell-scan --example catalog
	$(or $(wildcard $(TARGET)/bench-venv/bin/python),python3) tools/bench/catalog.py $(TARGET)/release/examples/catalog \
		$(TARGET)/bench-images $(CATALOG) $(TARGET)/release/watchbell $(CATALOG_DB)
	$(CARGO) bench --locked -p watchbell --bench array -- $(ARRAY)
	$(CARGO) bench --locked -p watchbell --bench growth -- $(GROWTH)
	$(CARGO) bench --locked -p watchbell --bench cronjobs -- $(CRONJOBS)
	$(CARGO) bench --locked -p watchbell --bench attacks

lint: fmt clippy deny doc

fmt:
	$(CARGO) fmt --all --check
	cd examples/weather && $(CARGO) fmt --check
	cd tools/schema && $(CARGO) fmt --check
	cd tools/fuzz && $(CARGO) fmt --check

clippy:
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	cd examples/weather && $(CARGO) clippy --all-targets --locked -- -D warnings
	cd tools/fuzz && $(CARGO) clippy --no-default-features --locked --target-dir $(abspath $(TARGET)) -- -D warnings

deny: $(DENY)
	$(DENY) --locked check bans licenses sources

$(TARGET)/tools/bin/cargo-deny:
	$(CARGO) install cargo-deny --locked --version $(CARGO_DENY_VERSION) --root $(TARGET)/tools

doc:
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc --workspace --no-deps --document-private-items --locked
