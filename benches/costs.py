#!/usr/bin/env python3
"""What lastgood costs as a process: a miss over the direct call, a start, an idle connection.

    benches/costs.py [--only misses,starts,idle] [--lastgood PROGRAM]

A miss is measured in turns with the direct call to the simulated exchange, with an embedded store in between. A start counts from
the fork to the first answer; the store is filled with values of 64 KB that do not compress.
"""
import argparse, atexit, http.client, json, os, resource, signal, socket, statistics, subprocess, tempfile, threading, time

from instructions import ask
from servers import Servers, free_port, get

STARTS, VALUES, VALUE, IDLE = 7, 16_384, 64 << 10, 2_000


def line(what, figure, bound):
    print(f"{what:<58} {figure:>12} {bound:>10}", flush=True)


def request(target):
    return f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def misses(folder, program):
    servers = Servers(folder, program, None)
    try:
        exchange = servers.serve("exchange", [servers.lastgood, "sim", "--listen", "127.0.0.1:PORT"], core=1).port
        gateway = servers.gateway("lastgood", servers.lastgood, exchange, store="embedded:").port
        symbols = [row["symbol"] for row in json.loads(get(exchange, "/api/v3/exchangeInfo")[2])["symbols"]]
        average, book = "/api/v3/avgPrice?symbol={}", "/api/v3/depth?symbol=BTCUSDT&limit=10"
        asked = [(average.format(symbol), average.format(symbol)) for symbol in symbols[:300]]
        missed("avgPrice", exchange, gateway, asked)
        missed("a declared route", exchange, gateway, [(book, f"/v1/quotes/BTCUSDT?days={days}") for days in range(1, 301)])
    finally:
        servers.stop()


def missed(name, exchange, gateway, asked):
    connections = [socket.create_connection(("127.0.0.1", port)) for port in (exchange, gateway)]
    took = []
    for targets in asked:
        both = []
        for connection, target in zip(connections, targets):
            began = time.perf_counter()
            label = ask(connection, request(target), rb"x-cache: (\w+)")
            both.append((time.perf_counter() - began) * 1e6)
        assert label == b"MISS", label
        took.append(both)
    # The first wait for connections and for things that are made once.
    took = took[20:]
    alone, behind = (statistics.median(column) for column in zip(*took))
    more = statistics.median(behind - alone for alone, behind in took)
    line(f"{name}: the exchange alone {alone:.0f} µs, a miss {behind:.0f} µs, p50", f"+{more:.0f} µs", "+100 µs")


class Gateway:
    """A gateway without an exchange, and when it was started."""

    def __init__(self, program, data):
        self.port = free_port()
        command = [program, "serve", "--listen", f"127.0.0.1:{self.port}", "--data-dir", data]
        # On a busy machine a round over all connections may take long.
        for setting in ("binance=off", "log.level=error", "limits.header_timeout=10m"):
            command += ["--set", setting]
        self.began = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        atexit.register(self.process.kill)

    def first_answer(self, target):
        """Milliseconds from the start to the first answer."""
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port)) as connection:
                    connection.sendall(request(target))
                    assert connection.recv(1 << 17).startswith(b"HTTP/1.1 200")
                    return (time.perf_counter() - self.began) * 1e3
            except ConnectionRefusedError:
                assert self.process.poll() is None, "the gateway has ended"
                time.sleep(0.0002)

    def end(self, by=signal.SIGTERM):
        self.process.send_signal(by)
        self.process.wait()

    def resident(self):
        with open(f"/proc/{self.process.pid}/smaps_rollup") as file:
            return next(int(text.split()[1]) << 10 for text in file if text.startswith("Rss:"))


def starts(folder, program):
    def measured(data, target, by=signal.SIGTERM):
        took = []
        for _ in range(STARTS):
            gateway = Gateway(program, data or tempfile.mkdtemp(dir=folder))
            took.append(gateway.first_answer(target))
            gateway.end(by)
        return f"{statistics.median(took):.0f} ms"

    line("start to first answer, no data yet", measured(None, "/livez"), "50 ms")
    data = tempfile.mkdtemp(dir=folder)
    gateway = Gateway(program, data)
    gateway.first_answer("/livez")
    body = os.urandom(VALUE)

    def fill(first):
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port)
        for number in range(first, VALUES, 16):
            connection.request("PUT", f"/v1/kv/kv/{number}", body[number % 997 :] + body[: number % 997])
            answer = connection.getresponse()
            # 202 where the store is behind.
            assert answer.status in (201, 202), answer.status
            answer.read()

    threads = [threading.Thread(target=fill, args=(first,)) for first in range(16)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    gateway.end()
    on_disk = sum(file.stat().st_size for file in os.scandir(data)) >> 20
    line(f"start to the first stored value, {on_disk:,} MB of data", measured(data, "/v1/kv/kv/17"), "200 ms")
    # But for the first, each finds a file that was not closed.
    line("  after kill -9", measured(data, "/v1/kv/kv/18", signal.SIGKILL), "")


def idle(folder, program):
    gateway = Gateway(program, folder)
    gateway.first_answer("/livez")
    opened = lambda count: [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(count)]
    ten_each = lambda connections: [ask(one, request("/livez")) for _ in range(10) for one in connections]
    # The first have made the things that are made once.
    first = opened(50)
    ten_each(first)
    before, connections = gateway.resident(), opened(IDLE)
    time.sleep(0.5)
    each = lambda: f"{(gateway.resident() - before) / IDLE / 1024:.1f} KB"
    line(f"memory of an idle connection that asked nothing, of {IDLE:,}", each(), "12 KB")
    for group in range(0, IDLE, 100):
        ten_each(connections[group : group + 100])
        time.sleep(1)
    time.sleep(2)
    line("the same after ten requests each, of 100 a second", each(), "12 KB")
    ten_each(connections)
    line("the same after ten more, of all within a second", each(), "")
    gateway.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="misses,starts,idle")
    parser.add_argument("--lastgood", default="target/release/lastgood", help="the program; by default the release build")
    chosen = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (3 * IDLE, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    line("", "median", "bound")
    for part in chosen.only.split(","):
        with tempfile.TemporaryDirectory() as folder:
            {"misses": misses, "starts": starts, "idle": idle}[part](folder, os.path.abspath(chosen.lastgood))


if __name__ == "__main__":
    main()
