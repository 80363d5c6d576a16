# The gateway alone, as a user of its own.
#
#   docker build -t lastgood .
#   docker run -p 127.0.0.1:8090:8090 -v lastgood:/data -e LASTGOOD_ADMIN_TOKEN="$(openssl rand -hex 32)" --stop-timeout 30 lastgood
#
# It listens beyond loopback, so it does not start without an admin token. A configuration file is mounted at
# /etc/lastgood.toml and named by `-e LASTGOOD_CONFIG=/etc/lastgood.toml`. The environment wins over the file: the port is
# set by LASTGOOD_LISTEN, or by the file's `listen` where `-e LASTGOOD_LISTEN=` leaves that to it. The health check
# follows both, but not the flag --listen. A folder that is mounted at /data must belong to the user 10001. Stopping takes up to
# 15 seconds: requests under way are answered and queued writes are stored.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /source
COPY . .
# Optimised across crates: a hit takes 7 % fewer instructions, for a minute more of building (PERFORMANCE.md).
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    CARGO_PROFILE_RELEASE_LTO=thin cargo build --release --locked --bin lastgood && cp target/release/lastgood /lastgood

FROM debian:bookworm-slim
# Upstreams are checked against the system's certificate authorities.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home lastgood && install -d -o lastgood -g lastgood /data
COPY --from=build /lastgood /usr/local/bin/lastgood
USER 10001
ENV LASTGOOD_LISTEN=0.0.0.0:8090 LASTGOOD_DATA_DIR=/data
VOLUME /data
EXPOSE 8090
# Whether the gateway answers, not whether the exchange does: a restart would not bring that back.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 CMD ["lastgood", "check", "--live"]
ENTRYPOINT ["lastgood"]
CMD ["serve"]
