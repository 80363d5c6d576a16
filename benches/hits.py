#!/usr/bin/env python3
"""Hits over HTTP: lastgood next to nginx, Varnish, HAProxy, hyper and a server by hand, in turns, as one table of ratios.

    benches/hits.py [--rounds 5] [--seconds 2] [--quick] [--only TEXT] [--servers NAMES] [--connections 32,256] [--before PROGRAM]

Every server runs on core 0, one at a time under load; wrk runs on core 1. A round measures each server once, and a ratio is of
one round: the machine's speed drifts. `--quick` is three rounds of a second. `--before` is an older program `lastgood`, measured
in the same turns. All answer with the same bodies: lastgood loads them from the simulated exchange, hyper and the server by hand
are given what lastgood answered, and the caches load that from a server by hand. `--ways close,pipeline` measures a new
connection for each request, or 16 requests in a row, in place of connections that stay open. With `--both` the server and
wrk share both cores, with two threads or processes each.
"""
import argparse, os, re, resource, statistics, subprocess, sys, tempfile

from servers import Servers

CASES = {
    "ticker": ("/api/v3/ticker/price?symbol=BTCUSDT", None),
    "one symbol": ("/api/v3/exchangeInfo?symbol=BTCUSDT", None),
    "klines": ("/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=1000", None),
    "klines sliced": ("/api/v3/klines?symbol=BTCUSDT&interval=1h&startTime={second_candle}&limit=997", None),
    "klines gzip": ("/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=1000", "gzip"),
    "klines zstd": ("/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=1000", "zstd"),
    "exchangeInfo": ("/api/v3/exchangeInfo", None),
    "exchangeInfo gzip": ("/api/v3/exchangeInfo", "gzip"),
    "exchangeInfo zstd": ("/api/v3/exchangeInfo", "zstd"),
    "kv value": ("/v1/kv/kv/settings", None),
    "declared route": ("/v1/quotes/BTCUSDT?days=30", None),
}
PIPELINE = """
init = function(args)
  local one, all = wrk.format(), {}
  for i = 1, 16 do all[i] = one end
  requests = table.concat(all)
end
request = function() return requests end
"""
COLUMNS = "%-18s %5s %-14s %12s %22s %8s %8s %8s %8s %6s"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="three rounds of a second")
    parser.add_argument("--only", default="", help="cases whose name holds this text, or one of these, parted by commas")
    parser.add_argument("--servers", default="", help="these servers next to lastgood, parted by commas; all by default")
    parser.add_argument("--connections", default="32,256", help="numbers, parted by commas; 2000 needs `ulimit -n 5000`")
    parser.add_argument("--ways", default="keep", help="keep, close, pipeline, parted by commas")
    parser.add_argument("--both", action="store_true", help="both cores for server and load")
    parser.add_argument("--lastgood", help="the program; by default the release build")
    parser.add_argument("--before", help="an older program, to compare with")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.rounds, chosen.seconds = 3, 1
    return chosen


def wrk(port, target, coding, connections, seconds, way, folder, both):
    """Requests a second, how many in all, and the 99th percentile in milliseconds."""
    command = ["taskset", "-c", "0,1" if both else "1", "wrk", "-t2" if both else "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    command += ["-H", f"Accept-Encoding: {coding}"] if coding else []
    command += ["-H", "Connection: close"] if way == "close" else []
    if way == "pipeline":
        script = os.path.join(folder, "pipeline.lua")
        with open(script, "w") as file:
            file.write(PIPELINE)
        command += ["-s", script]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    printed = subprocess.run([*command, f"http://127.0.0.1:{port}{target}"], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in printed:
        sys.exit(f"port {port}, {target}: {printed}")
    value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)\b", printed).groups()
    p99 = float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]
    count = int(re.search(r"(\d+) requests in", printed).group(1))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / seconds
    return float(re.search(r"Requests/sec:\s+([\d.]+)", printed).group(1)), count, p99, busy


def measure(servers, name, case, connections, way, chosen):
    """For each server that has this body a list of (requests a second, CPU µs a request, p99 ms, part of the load's core that is busy),
    a round each."""
    target, coding = case
    measured = [server for server in servers.all if (name, server.name) not in servers.unlike]
    rounds = {server.name: [] for server in measured}
    for number in range(-1, chosen.rounds):
        for server in measured:
            seconds = chosen.seconds if number >= 0 else 1
            before = server.cpu_seconds()
            rate, count, p99, busy = wrk(server.port, target, coding, connections, seconds, way, servers.folder, chosen.both)
            cpu = (server.cpu_seconds() - before) * 1e6 / count
            if number >= 0:
                rounds[server.name].append((rate, cpu, p99, busy))
    return rounds


def median(values):
    return statistics.median(list(values))


def lines(name, connections, rounds):
    own = rounds["lastgood"]
    for server, other in rounds.items():
        ratios = [mine[0] / theirs[0] for mine, theirs in zip(own, other)]
        cpu = median(mine[1] / theirs[1] for mine, theirs in zip(own, other))
        p99 = median(mine[2] / theirs[2] for mine, theirs in zip(own, other))
        spread = f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        rate, each, late, busy = (median(row[field] for row in other) for field in range(4))
        columns = ("", "", "") if server == "lastgood" else (spread, f"{cpu:.2f}", f"{p99:.2f}")
        yield COLUMNS % (name, connections, server, f"{rate:,.0f}", columns[0], f"{each:.1f}", columns[1], f"{late:.2f}", columns[2],
                         f"{busy:.0%}")


def main():
    chosen = arguments()
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    wanted = [text for text in chosen.only.split(",") if text]
    with tempfile.TemporaryDirectory() as folder:
        servers = Servers(folder, chosen.lastgood, chosen.before, "0,1" if chosen.both else "0")
        try:
            cases = servers.start(CASES, [name for name in chosen.servers.split(",") if name])
            where = "servers and wrk on both cores" if chosen.both else "servers on core 0, wrk on core 1"
            print(f"medians of {chosen.rounds} rounds of {chosen.seconds} s, in turns; {where}")
            print("load: how busy wrk keeps its core; near 100 % it is wrk that limits the requests")
            print("requests x, CPU x, p99 x: lastgood's figure by that of the server in the line, round by round")
            print(COLUMNS % ("", "conns", "server", "requests/s", "requests x (spread)", "CPU µs", "CPU x", "p99 ms", "p99 x", "load"))
            for name, case in cases.items():
                if wanted and not any(text in name for text in wanted):
                    continue
                for way in chosen.ways.split(","):
                    for connections in chosen.connections.split(","):
                        rounds = measure(servers, name, case, connections, way, chosen)
                        label = name if way == "keep" else f"{name}, {way}"
                        print("\n".join(lines(label, connections, rounds)), flush=True)
        finally:
            servers.stop()


if __name__ == "__main__":
    main()
