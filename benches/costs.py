#!/usr/bin/env python3
"""What lastgood costs as a process: a miss over the direct call, a stampede on one cold key, a start, an idle connection, packing, gateways together.

    benches/costs.py [--only misses,stampedes,starts,idle,packing,nodes] [--lastgood PROGRAM] [--before PROGRAM]

A miss is measured in turns with the direct call to the simulated exchange, and with the same by way of an nginx that keeps nothing,
where there is one, and by way of another build (`--before`); the gateways have an embedded store. In a stampede 500 clients of each gateway ask for the same at once, and the
exchange takes 200 ms; of two gateways each has its own clients, and both have one Redis. A start counts from the fork to the first
answer; the store is filled with values of 64 KB that do not compress. Packing is the time of the first answer in a coding over that of the
next, with the bytes that are sent. Nodes: one, two and four gateways on one Redis without clients, and how soon each other one serves what was put at one.
"""
import argparse, atexit, http.client, json, os, resource, signal, socket, statistics, subprocess, tempfile, threading, time

from instructions import ask
from servers import CODINGS, Servers, free_port, get

STARTS, VALUES, VALUE, IDLE = 7, 16_384, 64 << 10, 2_000
# As many questions as the exchange allows in a minute, asked four times.
QUESTIONS = 250
CLIENTS, TAKES, SYMBOLS = 500, 200, ("BTCUSDT", "ETHUSDT", "SOLUSDT")


def line(what, figure, bound):
    print(f"{what:<58} {figure:>12} {bound:>10}", flush=True)


def request(target):
    return f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def misses(folder, program, before):
    average, book = "/api/v3/avgPrice?symbol={}", "/api/v3/depth?symbol=BTCUSDT&limit=10"
    averages = lambda symbols: [(average.format(symbol), average.format(symbol)) for symbol in symbols[:QUESTIONS]]
    quotes = lambda _: [(book, f"/v1/quotes/BTCUSDT?days={days}") for days in range(1, QUESTIONS + 1)]
    for name, asked in (("avgPrice", averages), ("a declared route", quotes)):
        # Each of a new exchange: both together would be more than it allows in a minute.
        servers = Servers(folder, program, None)
        try:
            exchange = servers.serve("exchange", [servers.lastgood, "sim", "--listen", "127.0.0.1:PORT"], core=1).port
            gateway = servers.gateway("lastgood", servers.lastgood, exchange, store="embedded:").port
            ways = {
                "by way of an nginx that keeps nothing": servers.relay(exchange),
                "by way of the build before": before and servers.gateway("before", before, exchange, store="embedded:"),
            }
            ways = {way: server.port for way, server in ways.items() if server}
            symbols = [row["symbol"] for row in json.loads(get(exchange, "/api/v3/exchangeInfo")[2])["symbols"]]
            missed(name, [exchange, gateway], ways, asked([symbol for symbol in symbols if symbol.isascii()]))
        finally:
            servers.stop()


def missed(name, ports, ways, asked):
    """`ports`: of the exchange and of the gateway; `ways`: of what else is asked in turns with them, and what it is."""
    connections = [socket.create_connection(("127.0.0.1", port)) for port in [*ports, *ways.values()]]
    took = []
    for number, (alone, behind) in enumerate(asked):
        targets = [alone, behind, *(behind if "build" in way else alone for way in ways)]
        each, labels = [0.0] * len(targets), [None] * len(targets)
        # Each is the first in its turn: who comes right after another finds the exchange awake.
        for place in (*range(number % len(targets), len(targets)), *range(number % len(targets))):
            began = time.perf_counter()
            labels[place] = ask(connections[place], request(targets[place]), rb"x-cache: (\w+)")
            each[place] = (time.perf_counter() - began) * 1e6
        assert labels[1] == b"MISS", labels
        took.append(each)
    # The first wait for connections and for things that are made once.
    took = took[20:]
    alone, behind, *_ = (statistics.median(column) for column in zip(*took))
    more = [statistics.median(each[place] - each[0] for each in took) for place in range(1, len(connections))]
    line(f"{name}: the exchange alone {alone:.0f} µs, a miss {behind:.0f} µs, p50", f"+{more[0]:.0f} µs", "+100 µs")
    for way, by_it in zip(ways, more[1:]):
        line(f"  {way}", f"+{by_it:.0f} µs", "")


def stampedes(folder, program):
    servers = Servers(folder, program, None)
    try:
        exchange = servers.serve("exchange", [servers.lastgood, "sim", "--listen", "127.0.0.1:PORT"], core=1).port
        redis = servers.serve("redis", ["redis-server", "--port", "PORT", "--save", ""], core=1).port
        delay = json.dumps({"kind": "latency", "ms": TAKES, "path_prefix": "/api/v3/avgPrice"})
        post(exchange, "/_sim/faults", delay)
        for nodes, store in ((1, "memory:"), (2, f"redis://127.0.0.1:{redis}")):
            gateways = [servers.gateway(f"node{nodes}{node}", servers.lastgood, exchange, store=store).port for node in range(nodes)]
            stampede(exchange, gateways)
    finally:
        servers.stop()


def post(port, target, body):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", target, body, {"Content-Type": "application/json"})
    assert connection.getresponse().status < 300


def stampede(exchange, gateways):
    connections = [socket.create_connection(("127.0.0.1", port)) for port in gateways for _ in range(CLIENTS)]
    calls, late = [], []
    for symbol in SYMBOLS:
        asked = request(f"/api/v3/avgPrice?symbol={symbol}")
        post(exchange, "/_sim/reset", "")
        began = time.perf_counter()
        [connection.sendall(asked) for connection in connections]
        for connection in connections:
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
        late.append((time.perf_counter() - began) * 1e3)
        counters = json.loads(get(exchange, "/_sim/counters")[2])
        calls.append(counters["paths"]["/api/v3/avgPrice"])
    what = f"{len(gateways)} x {CLIENTS} clients, one cold key, {TAKES} ms: last answer after {statistics.median(late):.0f} ms"
    line(what, " ".join(map(str, calls)) + " calls", "1 call each")


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


def packing(folder, program):
    servers, rounds = Servers(folder, program, None), 5
    try:
        exchange = servers.serve("exchange", [servers.lastgood, "sim", "--listen", "127.0.0.1:PORT"], core=1).port
        gateway = servers.gateway("lastgood", servers.lastgood, exchange).port
        for region, target in (
            ("exchange_info", "/api/v3/exchangeInfo"),
            ("ticker_24hr", "/api/v3/ticker/24hr"),
            ("klines", "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=1000"),
        ):
            sizes, took = {}, {coding: [] for coding in CODINGS[1:]}
            for _ in range(rounds):
                post(gateway, "/api/cache/invalidate", json.dumps({"region": region, "hard": True}))
                for coding in CODINGS:
                    times = []
                    for _ in range(5):
                        began = time.perf_counter()
                        status, _, body = get(gateway, target, coding)
                        times.append(time.perf_counter() - began)
                        assert status == 200, (target, status)
                    sizes[coding] = len(body)
                    if coding:
                        took[coding].append(times[0] - statistics.median(times[1:]))
            for coding in CODINGS[1:]:
                what = f"{target.partition('?')[0]} in {coding}: {sizes[coding] / 1e3:,.0f} KB of {sizes[None] / 1e3:,.0f}"
                line(what, f"{statistics.median(took[coding]) * 1e3:.1f} ms", "")
    finally:
        servers.stop()


def commands(redis):
    """How many commands a Redis has processed."""
    with socket.create_connection(("127.0.0.1", redis)) as connection:
        connection.sendall(b"INFO stats\r\n")
        text = b""
        while b"total_commands_processed:" not in text or not text.endswith(b"\r\n"):
            text += connection.recv(1 << 16)
    return int(text.split(b"total_commands_processed:")[1].split(b"\r")[0])


def nodes(folder, program):
    for count in (1, 2, 4):
        servers = Servers(folder, program, None)
        try:
            exchange = servers.serve("exchange", [servers.lastgood, "sim", "--listen", "127.0.0.1:PORT"], core=1).port
            redis = servers.serve("redis", ["redis-server", "--port", "PORT", "--save", ""], core=1).port
            store = f"redis://127.0.0.1:{redis}"
            gateways = [servers.gateway(f"nodes{count}{node}", servers.lastgood, exchange, store=store) for node in range(count)]
            time.sleep(3)
            asked, spent, seconds = commands(redis), sum(gateway.cpu_seconds() for gateway in gateways), 20
            time.sleep(seconds)
            spent = (sum(gateway.cpu_seconds() for gateway in gateways) - spent) / seconds / count
            asked = (commands(redis) - asked) / seconds / count
            line(f"{count} on one Redis: CPU of each, without clients", f"{spent * 1e3:.1f} ms/s", "")
            line("  commands of each to Redis", f"{asked:.1f}/s", "")
            if count > 1:
                late = heard([gateway.port for gateway in gateways])
                line("  what was put at one is served by another after", f"{late:.1f} ms", "")
        finally:
            servers.stop()


def heard(ports):
    """Milliseconds from the answer to a put until each other gateway, which held the value before, serves the new one: the median."""
    connections = [http.client.HTTPConnection("127.0.0.1", port) for port in ports]

    def ask_one(connection, method, body=None):
        connection.request(method, "/v1/kv/kv/settings", body)
        answer = connection.getresponse()
        given = answer.read()
        assert answer.status < 300, answer.status
        return given

    late = []
    for number in range(20):
        value = str(number).encode()
        ask_one(connections[0], "PUT", value)
        for connection in connections[1:]:
            began = time.perf_counter()
            while ask_one(connection, "GET") != value:
                pass
            late.append((time.perf_counter() - began) * 1e3)
        time.sleep(0.1)
    return statistics.median(late)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="misses,stampedes,starts,idle,packing,nodes")
    parser.add_argument("--lastgood", default="target/release/lastgood", help="the program; by default the release build")
    parser.add_argument("--before", type=os.path.abspath, help="another build, for misses in turns with it")
    chosen = parser.parse_args()
    parts = {"misses": lambda *given: misses(*given, chosen.before), "stampedes": stampedes, "starts": starts, "idle": idle, "packing": packing, "nodes": nodes}
    resource.setrlimit(resource.RLIMIT_NOFILE, (3 * IDLE, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    line("", "median", "bound")
    for part in chosen.only.split(","):
        with tempfile.TemporaryDirectory() as folder:
            parts[part](folder, os.path.abspath(chosen.lastgood))


if __name__ == "__main__":
    main()
