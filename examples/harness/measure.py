"""What the cache is worth: a table from no cache to hit, and a load with hit rate and latencies.

    python3 examples/harness/measure.py http://127.0.0.1:8090 --workers 4 --requests 1000 \\
        '/v1/symbols/spot?limit=20' '/api/v3/ticker/price?symbol=BTCUSDT'
"""

import argparse
import http.client
import multiprocessing
import re
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

    def ask(self, path, method="GET"):
        """(milliseconds, the answer, its body)."""
        began = time.perf_counter()
        self.connection.request(method, path, headers=self.headers)
        answer = self.connection.getresponse()
        body = answer.read()
        return (time.perf_counter() - began) * 1000, answer, body

    def get(self, path):
        """(milliseconds, X-Cache); an error status is an `ERROR` of its own."""
        took, answer, _ = self.ask(path)
        return took, answer.getheader("X-Cache") or "-" if answer.status < 400 else f"ERROR {answer.status}"


def percentile(values, share):
    """The value that `share` of all are not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def hit_rate(outcomes):
    """The share of hits among outcomes; 0 of none."""
    return sum(outcome in HITS for outcome in outcomes) / max(1, len(outcomes))


def fresh_for(cache_status):
    """The seconds for which an answer is still fresh, by its `Cache-Status`; None where it does not say."""
    found = re.search(r"\bttl=(-?\d+)", cache_status or "")
    return int(found.group(1)) if found else None


def fresh_in_words(seconds, promised=None):
    """How long an answer is fresh, next to the promise: `291 of 300 s`. `ttl` counts whole seconds."""
    if seconds is None:
        return "-"
    return f"{max(seconds, 0)} of {promised} s" if promised else f"{seconds} s" if seconds > 0 else "< 1 s"


def keeps(seconds, promised):
    """Whether an answer is fresh for as long as was promised: never longer, and shorter by no more than the jitter that
    keeps entries from ending together (a tenth), the second that `ttl` leaves out, and the one that the asking took."""
    return seconds is not None and promised * 0.9 - 2 <= seconds <= promised


def without_a_cache(client, path, repeats):
    """The median of asking with the cache switched off, in milliseconds: what the application had without one."""
    _switch(client, "disable")
    try:
        return percentile([client.get(path)[0] for _ in range(repeats)], 0.5)
    finally:
        _switch(client, "enable")


def _switch(client, way):
    _, answer, body = client.ask(f"/api/cache/{way}", "POST")
    if answer.status != 200:
        raise RuntimeError(f"{way} answered {answer.status}: {body.decode(errors='replace')}")


def table(url, paths, source_calls, repeats=200, headers=None, title="", bare_repeats=5, promised=None, promises=None):
    """Asks each path with the cache switched off, then once, then `repeats` times, and prints what that took and for
    how long the first answer was said to be fresh; `source_calls` counts the calls that reached the source so far.
    `headers` get into the Cache API. `promised` has the seconds of freshness by path, which `promises` then hold it to.
    Gives back the rows."""
    promised = promised or {}
    client, rows = Client(url, headers), []
    width = max(len(path) for path in [title, *paths])
    print(f"\n{'':<{width}}  {'without':>10}  {'first answer':>21}  {'answers after it':>23}  {'fresh':>16}"
          f"  {'calls to source':>15}  {'hit':>6}")
    print(f"{title:<{width}}  {'a cache':>10}  {'':>9} {'':>11}  {'half within':>11} {'99 % within':>11}  {'for':>16}"
          f"  {'first':>7} {'after':>7}  {'rate':>6}")
    for path in paths:
        bare_ms = without_a_cache(client, path, bare_repeats)
        before = source_calls()
        cold_ms, answer, _ = client.ask(path)
        cold = answer.getheader("X-Cache") or "-" if answer.status < 400 else f"ERROR {answer.status}"
        lasts = fresh_for(answer.getheader("Cache-Status"))
        # A warmed answer has been fresh since its load.
        lasts = lasts and lasts + int(answer.getheader("Age") or 0)
        between = source_calls()
        times, outcomes = zip(*[client.get(path) for _ in range(repeats)])
        row = {
            "path": path, "bare_ms": bare_ms, "first": cold, "first_ms": cold_ms, "p50_ms": percentile(times, 0.5),
            "p99_ms": percentile(times, 0.99), "fresh_for": lasts, "calls_first": between - before,
            "calls_then": source_calls() - between, "hit_rate": hit_rate(outcomes),
        }
        rows.append(row)
        print(f"{path:<{width}}  {bare_ms:7.2f} ms  {cold:>9} {cold_ms:8.2f} ms  {row['p50_ms']:8.2f} ms"
              f" {row['p99_ms']:8.2f} ms  {fresh_in_words(lasts, promised.get(path)):>16}  {row['calls_first']:>7} {row['calls_then']:>7}"
              f"  {row['hit_rate']:>6.1%}", flush=True)
    if promises:
        for row in rows:
            if seconds := promised.get(row["path"]):
                promises.hold(f"{row['path']} is fresh for {seconds} s", keeps(row["fresh_for"], seconds),
                              f"{row['fresh_for']} s")
    return rows


def _as_a_worker():
    # The program's end is its own.
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, signal.SIG_DFL)


def _worker(job):
    url, paths, requests, headers, offset = job
    client = Client(url, headers)
    return [client.get(paths[(offset + number) % len(paths)]) for number in range(requests)]


def load(url, paths, workers=4, requests=1000, headers=None, wanted_hit_rate=0.8, wanted_p99_ms=50):
    """This many workers with this many requests each, over the paths in turn. Prints and gives back hit rate and
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
