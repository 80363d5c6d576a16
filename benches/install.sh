#!/usr/bin/env bash
# Installs what `make bench` needs next to a Rust toolchain: Debian packages, whose services are not started, and a Python
# client of Redis in target/bench-tools. Running it again costs a second.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=target/bench-tools

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

missing=()
while read -r program package; do
  command -v "$program" >/dev/null || [ -x "/usr/sbin/$program" ] || missing+=("$package")
done <<'LIST'
nginx nginx-light
varnishd varnish
haproxy haproxy
wrk wrk
redis-server redis-server
redis-benchmark redis-tools
valgrind valgrind
taskset util-linux
python3 python3-venv
LIST
if [ "${#missing[@]}" -gt 0 ]; then
  command -v apt-get >/dev/null || { echo "install: missing ${missing[*]}; install them with this system's package manager" >&2; exit 1; }
  install=(env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -q --no-install-recommends "${missing[@]}")
  as_root "${install[@]}" >/dev/null 2>&1 || { as_root apt-get update -q >/dev/null && as_root "${install[@]}" >/dev/null; }
fi
if [ ! -x "$tools/venv/bin/python" ]; then
  mkdir -p "$tools"
  python3 -m venv "$tools/venv"
fi
"$tools/venv/bin/python" -c 'import redis, hiredis, orjson' 2>/dev/null ||
  "$tools/venv/bin/pip" install -q --disable-pip-version-check 'redis[hiredis]==5.2.1' 'orjson==3.10.12'
