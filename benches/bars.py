#!/usr/bin/env python3
"""A thousand candles in the usual Python layout: a key a bar, found by SCAN, read by MGET, with redis-py, hiredis and orjson.

    target/bench-tools/venv/bin/python benches/bars.py [--others 100000]

Starts a redis-server of its own with this many other keys. The lines stand next to those of `cargo bench --bench candles`.
"""
import argparse, os, socket, statistics, subprocess, tempfile, time

import orjson, redis

BARS = 1_000


def median(runs, work):
    took = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) * 1e6)
    return statistics.median(took)


def bar(number):
    price = f"{97000 + number % 900}.{number % 100:02}000000"
    amount = f"{number % 40}.{number * 104729 % 100000000:08}"
    open_time = 1_700_000_000_000 + number * 60_000
    return [open_time, price, price, price, price, amount, open_time + 59_999, amount, number % 5000, amount, amount, "0"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--others", type=int, default=100_000)
    others = parser.parse_args().others
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no", "--dir", folder]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            store = redis.Redis(port=port)
            for _ in range(200):
                try:
                    store.ping()
                    break
                except redis.ConnectionError:
                    time.sleep(0.05)
            measure(store, others)
        finally:
            server.terminate()
            server.wait()


def measure(store, others):
    for first in range(0, others, 1_000):
        store.mset({f"other:{number}": b"x" for number in range(first, first + 1_000)})
    bars = [bar(number) for number in range(BARS)]

    def write():
        pipeline = store.pipeline(transaction=False)
        for each in bars:
            pipeline.set(f"bar:BTCUSDT:1m:{each[0]}", orjson.dumps(each), ex=86_400)
        pipeline.execute()

    def read():
        keys = list(store.scan_iter("bar:BTCUSDT:1m:*", count=1_000))
        read = [orjson.loads(text) for text in store.mget(keys)]
        read.sort(key=lambda each: each[0])
        return orjson.dumps(read)

    def write_blob():
        store.set("blob", orjson.dumps(bars), ex=86_400)

    def read_blob():
        return orjson.dumps(orjson.loads(store.get("blob")))

    last = f"bar:BTCUSDT:1m:{bars[-1][0]}"
    written, got, newest = median(5, write), median(5, read), median(300, lambda: orjson.loads(store.get(last)))
    taken = sum(store.memory_usage(f"bar:BTCUSDT:1m:{each[0]}") for each in bars)
    line(f"a key a bar, SCAN among {others} others, redis-py", written, got, newest, taken)
    written, got = median(100, write_blob), median(100, read_blob)
    line("one JSON text, redis-py and orjson", written, got, got, store.memory_usage("blob"))


def line(layout, write, read, last, taken):
    print(f"{layout:<52} {write:>10.1f} {read:>12.1f} {last:>10.1f} {taken:>10}")


if __name__ == "__main__":
    main()
