# `make help` lists the targets. After `make setup` (and `make setup-train` for training and the whole test) nothing
# needs a network.

TASK ?= pick_place
SEED ?= 1
EPISODES ?=
OPTIMIZER ?=
# What `make export` reads and writes.
CHECKPOINT ?=
ARCH ?= vjepa2_ac_vitg
MODEL ?= models/vitg
PRECISION ?= fp32
# The seed that models/demo was made with.
TRAIN_SEED ?= 0
# Start and goal pictures for bench-planners, and the pair whose search is drawn.
PAIRS ?= out/pairs.safetensors
PAIRS_SEED ?= 3000
PAIR ?= 189
HORIZON ?= 1,2
LIMIT ?=
PYTHON ?= $(shell scripts/python.sh)

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
export PATH := $(PATH):$(HOME)/.cargo/bin
# Without what a sourced ROS 2 puts there, which is not for the virtual environments.
SOURCED_PYTHONPATH := $(PYTHONPATH)
export PYTHONPATH := python

# A cargo that rustup installed under another HOME (a container, sudo) still finds its toolchain.
ifeq ($(RUSTUP_HOME)$(wildcard $(HOME)/.rustup),)
RUSTUP_BESIDE := $(wildcard $(patsubst %/.cargo/bin/cargo,%/.rustup,$(shell command -v cargo)))
ifneq ($(filter %/.rustup,$(RUSTUP_BESIDE)),)
export RUSTUP_HOME := $(RUSTUP_BESIDE)
endif
endif

VENV := .venv
VENV_TRAIN := .venv-train
CARGO_FLAGS := --release --locked --offline
PYTHON_CODE := python launch scripts tests benches
PLANNER := target/release/vjepa-planner
RUN := $(VENV)/bin/python -m demo --seed $(SEED) $(if $(OPTIMIZER),--optimizer $(OPTIMIZER))

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-24s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Variables: TASK=pick_place|reach  SEED=$(SEED)  EPISODES=…  OPTIMIZER=response_surface|cem|icem|mppi"

.PHONY: system
system:
	@scripts/system.sh "$(PYTHON)"

$(VENV)/.installed: python/pyproject.toml scripts/environment.sh scripts/requirements.py | system
	@scripts/environment.sh "$(PYTHON)" $(VENV) sim test
	@$(VENV)/bin/python scripts/check_rendering.py
	@touch $@

$(VENV_TRAIN)/.installed: python/pyproject.toml scripts/environment.sh scripts/requirements.py | system
	@scripts/environment.sh "$(PYTHON)" $(VENV_TRAIN) export train plot test
	@touch $@

target/.fetched: Cargo.lock | system
	@echo "setup: Rust packages"
	@cargo fetch --locked --quiet
	@mkdir -p target && touch $@

.PHONY: setup
setup: system $(VENV)/.installed target/.fetched ## all that demo, build and lint need (.venv, Rust and system packages)
	@echo "setup: ready"

.PHONY: setup-train
setup-train: setup $(VENV_TRAIN)/.installed ## PyTorch as well (.venv-train, some gigabytes)

.PHONY: build
build: setup ## the node, release profile
	cargo build $(CARGO_FLAGS)

.PHONY: demo
demo: build ## the arm acts by goal images; leaves out/demo/report.html, film.gif and summary.json
	$(RUN) --task $(TASK) --episodes $(or $(EPISODES),1)

.PHONY: demo-shadow
demo-shadow: build ## the planner watches a scripted controller, once with a bumped camera, once without; leaves out/shadow
	$(VENV)/bin/python -m demo.shadow --seed $(SEED)

.PHONY: eval-demo
eval-demo: build ## success rate over fresh scenes; leaves out/eval/TASK-SEED/
	$(RUN) --task $(TASK) --episodes $(or $(EPISODES),50) --evaluate

.PHONY: eval-planners
eval-planners: build ## response_surface and the paper's search in the same scenes, by turns; goes on where it was stopped
	$(VENV)/bin/python -m demo.planners --episodes $(or $(EPISODES),50) --docs docs/planning.md

.PHONY: pairs
pairs: $(PAIRS)

$(PAIRS): | setup
	$(VENV)/bin/python -m sim.pairs --out $@ --count 200 --seed $(PAIRS_SEED)

.PHONY: bench-planners
bench-planners: build pairs ## every optimizer against the paper's search; tables into docs/planning.md (LIMIT=20 HORIZON=1)
	$(PLANNER) bench-planners --model models/demo --pairs $(PAIRS) --horizon $(HORIZON) \
		--reference out/reference.json $(if $(LIMIT),--limit $(LIMIT)) --save out/bench_planners.json
	$(VENV)/bin/python benches/planners_table.py --bench out/bench_planners.json --docs docs/planning.md

.PHONY: plot-planners
plot-planners: build pairs setup-train ## pictures of the search, from what bench-planners has measured
	$(PLANNER) bench-planners --model models/demo --pairs $(PAIRS) --horizon 1 --energy l1 \
		--optimizer response_surface --trace $(PAIR) >out/trace.json
	$(VENV_TRAIN)/bin/python benches/planners_plot.py --bench out/bench_planners.json --trace out/trace.json --out docs/images

.PHONY: train-demo
train-demo: setup-train ## data, training, probes and export of the demo's model into models/demo
	$(VENV)/bin/python -m sim.dataset data/demo --seed $(TRAIN_SEED)
	$(VENV_TRAIN)/bin/python -m vjepa_ac.train --data data/demo --seed $(TRAIN_SEED) --out models/demo \
		--checkpoint models/demo/checkpoint.pt
	$(VENV_TRAIN)/bin/python -m vjepa_ac.tests.make_models demo_fp16

.PHONY: export
export: setup-train ## graphs of a checkpoint: CHECKPOINT=FILE, and MODEL=models/vitg PRECISION=fp32|fp16 ARCH=…
	@[ -n "$(CHECKPOINT)" ] || { echo "name a checkpoint: make export CHECKPOINT=/path/to/vjepa2-ac-vitg.pt" >&2; exit 2; }
	$(VENV_TRAIN)/bin/python -m vjepa_ac.export --checkpoint "$(CHECKPOINT)" --arch "$(ARCH)" --out "$(MODEL)" \
		--precision $(PRECISION) --context 1 2 --horizon 1 2

.PHONY: bench-reference
bench-reference: setup-train ## the demo's graphs against the original algorithm, on this machine
	benches/reference/run

.PHONY: bench-reference-planning
bench-reference-planning: build pairs setup-train ## planning one action against the paper's search in PyTorch
	benches/reference/plan --pairs $(PAIRS) $(if $(LIMIT),--limit $(LIMIT)) --json out/reference_planning.json
	benches/reference/plan --pairs $(PAIRS) --arch $(ARCH) --random-weights 0 --json out/reference_planning_large.json
	$(VENV)/bin/python benches/planners_table.py --original out/reference_planning.json \
		--large out/reference_planning_large.json --docs docs/planning.md

.PHONY: test
test: test-export test-rust test-python test-loop ## everything that needs no GPU

.PHONY: test-export
test-export: setup-train ## the model against the original's recorded numbers, in PyTorch, in ONNX and through the node's code
	$(VENV_TRAIN)/bin/python -m vjepa_ac.golden
	$(VENV_TRAIN)/bin/python -m pytest -c python/pyproject.toml python/vjepa_ac
	cargo test $(CARGO_FLAGS) $(patsubst tests/%.rs,--test %,$(wildcard tests/golden_*.rs))

.PHONY: test-rust
test-rust: setup
	cargo test $(CARGO_FLAGS)

.PHONY: test-python
test-python: setup
	$(VENV)/bin/python -m pytest -c python/pyproject.toml python/sim python/demo tests/package

FUZZ_SECONDS ?= 60
.PHONY: fuzz
# cargo-fuzz needs a nightly toolchain. Without it the same functions get mutated messages, blindly.
fuzz: setup ## decoding of images from the network gets broken messages (FUZZ_SECONDS=60)
	@if cargo +nightly fuzz --version >/dev/null 2>&1; then \
		cargo test $(CARGO_FLAGS) --test camera_fuzz -- --ignored valid_messages; \
		for target in image_message compressed_image; do \
			cargo +nightly fuzz run $$target -- -max_total_time=$$(( $(FUZZ_SECONDS) / 2 )) -rss_limit_mb=4096; \
		done; \
	else \
		echo "cargo-fuzz or a nightly toolchain is missing: mutating valid messages blindly instead"; \
		FUZZ_SECONDS=$(FUZZ_SECONDS) cargo test $(CARGO_FLAGS) --test camera_fuzz -- --ignored --nocapture a_minute; \
	fi

.PHONY: test-loop
# Uses the node that test-rust has built: a build of its own would differ in features of shared packages.
test-loop: test-rust
	$(VENV)/bin/python -m pytest -c python/pyproject.toml --reruns 1 --reruns-delay 5 -rR tests/loop

.PHONY: test-ros
test-ros: export PYTHONPATH := $(SOURCED_PYTHONPATH)
test-ros: ## the r2r adapter and ros2's own tools, where a ROS 2 is sourced
	@CARGO_FLAGS="$(CARGO_FLAGS)" scripts/test_ros.sh

GUEST := target/v4l2-guest
.PHONY: test-v4l2
test-v4l2: ## V4L2 cameras against a kernel's driver, in a virtual machine (QEMU; the kernel comes with apt)
	cargo test $(CARGO_FLAGS) --features v4l --lib camera::v4l2
	cargo build $(CARGO_FLAGS) --features v4l --bin vjepa-planner
	@mkdir -p $(GUEST)
	cargo test $(CARGO_FLAGS) --features v4l --test v4l2 --no-run --message-format json \
		| sed -n 's/.*"executable":"\([^"]*\/v4l2-[^"]*\)".*/\1/p' >$(GUEST)/test
	$(PYTHON) tests/v4l2/guest.py --test "$$(cat $(GUEST)/test)" --tool $(PLANNER) --work $(GUEST)

.PHONY: test-gstreamer
test-gstreamer: ## GStreamer pipelines: test pattern, files, RTSP on loopback (needs GStreamer's headers and plugins)
	cargo test $(CARGO_FLAGS) --features gstreamer --lib camera::gstreamer
	VJEPA_GSTREAMER_REQUIRED=1 cargo test $(CARGO_FLAGS) --features gstreamer --test gstreamer

MINUTES ?= 30
REALTIME ?=
.PHONY: soak
soak: build ## the node under a robot's load: frames, joint states, plans, commands, memory (MINUTES=30 REALTIME=1)
	$(VENV)/bin/python benches/soak.py --minutes $(MINUTES) $(if $(REALTIME),--realtime) --json out/soak.json

.PHONY: soak-short
# With the node that is built already, as test-loop has it.
soak-short: ## two minutes of the same, with limits that hold beside other work
	@[ -x target/release/planner_node ] || { echo "soak-short: build the node first (make test or make build)" >&2; exit 2; }
	$(VENV)/bin/python benches/soak.py --minutes 2 --shared --realtime --json out/soak-short.json

.PHONY: bench-stop
bench-stop: build ## how long ~/stop takes while the node plans on all cores
	$(VENV)/bin/python benches/stop_latency.py --stops 120

.PHONY: lint
lint: setup ## rustfmt, clippy and ruff, warnings denied
	cargo fmt --all --check
	cargo clippy $(CARGO_FLAGS) --all-targets -- -D warnings
	cargo clippy $(CARGO_FLAGS) --features r2r-doc-only --lib -- -D warnings
	cargo clippy $(CARGO_FLAGS) --features v4l --lib -- -D warnings
	$(VENV)/bin/ruff check --config python/pyproject.toml $(PYTHON_CODE)
	$(VENV)/bin/ruff format --check --config python/pyproject.toml $(PYTHON_CODE)

.PHONY: clean
clean: ## removes builds, environments and results
	rm -rf target out $(VENV) $(VENV_TRAIN)
	find python tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
