# One verb per task. Every verb makes its own environment from the lock file first.
#   make demo [KAFKA=real] [ARGS="--events 20000"]    the whole main job on this machine
#   make test                                         all checks and tests (CI=true: nothing may be skipped)
#   make soak [ARGS="--seconds 60"]                   ten minutes of kills and network faults; then verify
#   make check | bench | bench-quick | bench-drift | bench-loop | bench-loop-kafka | faults | soak | fuzz | docs | kafka | lock | clean

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
KAFKA ?= embedded
ARGS ?=

.PHONY: demo test check unit broker faults soak fuzz bench bench-quick bench-drift bench-loop bench-loop-kafka docs kafka lock clean

demo: $(READY)
	$(BIN)/millstream demo --kafka $(KAFKA) $(ARGS)

test: check unit broker

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A file at a time, the longest first (tests/order.py). More workers than cores: half of a test is
# waiting. A worker that dies is not replaced: with xdist 3.8 the run would never end.
WORKERS ?= 3
PYTEST = $(BIN)/pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart=0

# Nothing running: no broker but the embedded one, no Java.
unit: $(READY)
	$(PYTEST) -m "not broker and not registry and not crash and not fault"

# Real Apache Kafka and Apicurio, fetched by Maven; real processes that are killed; a minute's soak.
broker: $(READY)
	$(PYTEST) -o faulthandler_timeout=1450 -m "(broker or registry or crash) and not fault"

# Brokers, networks, disks and ClickHouse that fail, and rebalances: a quarter of an hour, in which
# docs/FAULTS.md is proven.
faults: $(READY)
	$(BIN)/pytest -q -o faulthandler_timeout=1450 -m fault

bench: $(READY)
	$(BIN)/python -m ops.bench $(ARGS)

# 200,000 events, the fastest peers, once: under three minutes.
bench-quick: $(READY)
	$(BIN)/python -m ops.bench --quick $(ARGS)

# Drift: delay, missed changes, false alarms. Streams of ../shared/data where it is, River's always.
bench-drift: $(READY)
	$(BIN)/python -m ops.bench.drift $(ARGS)

# Retraining: accuracy of the loop on drifting streams, outcomes at once and late. ARGS="--all": more.
bench-loop: $(READY)
	$(BIN)/python -m ops.bench.loop $(ARGS)

# The same through real Kafka and every program: minutes a stream. ARGS="--delays 0,500,2000": later.
bench-loop-kafka: $(READY)
	$(BIN)/python -m ops.bench.loop.through $(ARGS)

# Load, kill -9 every 5 s, broker restarts, network faults; 1 if an event or a row is lost or doubled.
soak: $(READY)
	$(BIN)/python -m ops.soak $(ARGS)

# Ten million damaged records through the compiled codec and the row reader: the same verdicts.
fuzz: $(READY)
	$(BIN)/python -m ops.fuzz $(ARGS)

# The documentation site, into .run/site: every link and anchor is checked.
docs: $(READY)
	$(BIN)/python -m ops.docs $(ARGS)

kafka: $(READY)
	$(BIN)/millstream kafka .run/kafka $(ARGS)

$(READY): requirements-dev.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(READY)

# requirements.lock is what the programs need, requirements-dev.lock adds training, Faust and tests.
lock: $(READY)
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --all-extras pyproject.toml -o requirements-dev.lock

clean:
	rm -rf .venv .run build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
