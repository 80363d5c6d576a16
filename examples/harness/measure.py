"""What the cache is worth: a table from miss to hit, and a load with hit rate and latencies.

    python3 examples/harness/measure.py http://127.0.0.1:8090 --workers 4 --requests 1000 \\
        '/v1/symbols/spot?limit=20' '/api/v3/ticker/price?symbol=BTCUSDT'
"""

import argparse
import http.client
import multiprocessing
import signal
import sys
import time
import urllib.parse

HITS = ("HIT", "STALE")


class Client:
    """One keep-alive connection."""

    def __init__(self, url, headers=None):
        parts = urllib.parse.urlsplit(url)
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        self.headers = headers or {}

    def get(self, path):
        """(milliseconds, X-Cache); an error status is an `ERROR` of its own."""
        began = time.perf_counter()
        self.connection.request("GET", path, headers=self.headers)
        answer = self.connection.getresponse()
        answer.read()
        took = (time.perf_counter() - began) * 1000
        return took, answer.getheader("X-Cache") or "-" if answer.status < 400 else f"ERROR {answer.status}"


def percentile(values, share):
    """The value that `share` of all are not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def hit_rate(outcomes):
    return sum(outcome in HITS for outcome in outcomes) / len(outcomes)


def table(url, paths, source_calls, repeats=200, headers=None, title=""):
    """Asks each path once and then `repeats` times, and prints what that took; `source_calls` counts the calls that
    reached the source so far. Gives back the rows."""
    client, rows = Client(url, headers), []
    width = max(len(path) for path in paths)
    print(f"\n{title or 'from miss to hit':<{width}}  {'first':>9} {'ms':>8}  {'then p50':>8} {'p99 ms':>8}"
          f"  {'source calls':>12}  {'hit rate':>8}")
    for path in paths:
        before = source_calls()
        cold_ms, cold = client.get(path)
        between = source_calls()
        asked = [client.get(path) for _ in range(repeats)]
        times, outcomes = zip(*asked)
        row = {
            "path": path, "first": cold, "first_ms": cold_ms, "p50_ms": percentile(times, 0.5),
            "p99_ms": percentile(times, 0.99), "calls_first": between - before,
            "calls_then": source_calls() - between, "hit_rate": hit_rate(outcomes),
        }
        rows.append(row)
        calls = f"{row['calls_first']} then {row['calls_then']}"
        print(f"{path:<{width}}  {cold:>9} {cold_ms:8.2f}  {row['p50_ms']:8.2f} {row['p99_ms']:8.2f}"
              f"  {calls:>12}  {row['hit_rate']:>8.1%}", flush=True)
    return rows


def _as_a_worker():
    # What the program does when it is told to end, it does itself.
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, signal.SIG_DFL)


def _worker(job):
    url, paths, requests, headers, offset = job
    client = Client(url, headers)
    return [client.get(paths[(offset + number) % len(paths)]) for number in range(requests)]


def load(url, paths, workers=4, requests=1000, headers=None, wanted_hit_rate=0.8, wanted_p99_ms=50):
    """So many workers with so many requests each, over the paths in turn. Prints and gives back hit rate and
    latencies; `met` says whether they are as wanted."""
    # Each begins elsewhere: in step they would wait for the same loads.
    jobs = [(url, paths, requests, headers, worker * len(paths) // workers) for worker in range(workers)]
    began = time.perf_counter()
    # Processes: threads would wait for each other, and that would be measured.
    with multiprocessing.get_context("fork").Pool(workers, _as_a_worker) as pool:
        asked = [one for part in pool.map(_worker, jobs) for one in part]
        # Leaving the block would end them by a signal, wherever they are.
        pool.close()
        pool.join()
    seconds = time.perf_counter() - began
    times, outcomes = zip(*asked)
    cached = [took for took, outcome in asked if outcome in HITS] or [float("inf")]
    result = {
        "requests": len(asked), "per_second": len(asked) / seconds, "hit_rate": hit_rate(outcomes),
        "errors": sum(outcome.startswith("ERROR") for outcome in outcomes),
        "p50_ms": percentile(cached, 0.5), "p99_ms": percentile(cached, 0.99), "all_p99_ms": percentile(times, 0.99),
    }
    result["met"] = (result["hit_rate"] > wanted_hit_rate and result["p99_ms"] < wanted_p99_ms
                     and result["errors"] == 0)
    print(f"\nload: {workers} workers, {len(asked)} requests, {result['per_second']:.0f} a second, "
          f"{result['errors']} errors")
    print(f"  hit rate {result['hit_rate']:.1%} (wanted > {wanted_hit_rate:.0%})")
    print(f"  cached p50 {result['p50_ms']:.2f} ms, p99 {result['p99_ms']:.2f} ms (wanted < {wanted_p99_ms} ms)", flush=True)
    return result


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="Puts a load on a gateway, and prints hit rate and latencies.")
    arguments.add_argument("url")
    arguments.add_argument("paths", nargs="+")
    arguments.add_argument("--workers", type=int, default=4)
    arguments.add_argument("--requests", type=int, default=1000, help="of each worker")
    given = arguments.parse_args()
    sys.exit(0 if load(given.url, given.paths, given.workers, given.requests)["met"] else 1)
