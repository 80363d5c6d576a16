#!/usr/bin/env bash
# The hit path over HTTP: lastgood beside bare axum and, where it is installed, nginx's proxy_cache; with wrk.
# Servers run on core 0, wrk on core 1, in turns: only the ratios of one run mean anything.
#
#   benches/http.sh [ROUNDS] [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-5} seconds=${2:-3}
command -v wrk >/dev/null || { echo "wrk is not installed; on Debian: apt-get install wrk" >&2; exit 1; }
cargo build --release -q --bins --workspace
bins=${CARGO_TARGET_DIR:-target}/release

work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT
free_port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'; }
sim=$(free_port) gateway=$(free_port) axum=$(free_port) nginx=$(free_port)

"$bins/lastgood" sim --listen 127.0.0.1:$sim >"$work/sim.log" &
LASTGOOD_BINANCE_SPOT_URL=http://127.0.0.1:$sim taskset -c 0 "$bins/lastgood" serve --listen 127.0.0.1:$gateway \
  --store memory: --set regions.ticker_price.fresh_for=1h --set regions.klines.fresh_for=1h \
  --set regions.exchange_info.fresh_for=1h --set log.level=warn 2>"$work/gateway.log" &
taskset -c 0 "$bins/bare_axum" 127.0.0.1:$axum &
servers=(lastgood:$gateway axum:$axum)
if command -v nginx >/dev/null; then
  cat >"$work/nginx.conf" <<CONF
user root; worker_processes 1; daemon off; pid $work/nginx.pid; error_log $work/error.log;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000;
  proxy_cache_path $work/cache keys_zone=hits:10m;
  client_body_temp_path $work/b; proxy_temp_path $work/p; fastcgi_temp_path $work/f; uwsgi_temp_path $work/u; scgi_temp_path $work/s;
  server { listen 127.0.0.1:$nginx;
    location / { proxy_pass http://127.0.0.1:$sim; proxy_cache hits; proxy_cache_valid 200 1h; proxy_cache_lock on; add_header X-Cache \$upstream_cache_status; } }
}
CONF
  taskset -c 0 nginx -c "$work/nginx.conf" &
  servers+=(nginx:$nginx)
fi
for server in "${servers[@]}"; do
  for _ in $(seq 100); do curl -sf "http://127.0.0.1:${server#*:}/api/v3/exchangeInfo" -o /dev/null && break; sleep 0.1; done
done

measure() { # port path connections -> requests/s
  taskset -c 1 wrk -t1 -c"$3" -d"${seconds}s" "http://127.0.0.1:$1$2" | awk '/Requests\/sec/ {print $2} /Non-2xx/ {print "FAILED" > "/dev/stderr"}'
}

printf '%-14s %5s' path conns; for server in "${servers[@]}"; do printf ' %12s/s' "${server%:*}"; done
printf ' %10s %10s\n' "/axum" "/nginx"
for path in '/api/v3/ticker/price?symbol=BTCUSDT' '/api/v3/klines?symbol=BTCUSDT&interval=1d&limit=1000' '/api/v3/exchangeInfo'; do
  for connections in 32 256; do
    for server in "${servers[@]}"; do : >"$work/${server%:*}"; curl -s "http://127.0.0.1:${server#*:}$path" -o /dev/null; done
    for _ in $(seq "$rounds"); do
      for server in "${servers[@]}"; do measure "${server#*:}" "$path" "$connections" >>"$work/${server%:*}"; done
    done
    name=${path#/api/v3/}
    printf '%-14s %5s' "${name%%\?*}" "$connections"
    for server in "${servers[@]}"; do sort -n "$work/${server%:*}" | awk '{v[NR]=$1} END {printf " %14.0f", v[int((NR+1)/2)]}'; done
    for other in axum nginx; do
      [ -s "$work/$other" ] || { printf ' %10s' -; continue; }
      paste "$work/lastgood" "$work/$other" | awk '{print $1/$2}' | sort -n | awk '{v[NR]=$1} END {printf " %10.2f", v[int((NR+1)/2)]}'
    done
    printf '\n'
  done
done
