#!/usr/bin/env python3
"""Latency of a cold load and of a hit, of two builds of lastgood in turns (ABAB) over one redis-server.

    benches/leases.py OLD NEW [--rounds 6] [--requests 400]

OLD and NEW are programs `lastgood`, such as target/release/lastgood of two commits. Each round starts from an empty Redis,
loads this many distinct keys of the simulated exchange through the one gateway, then through the other, and asks for what memory
then holds. Requests are made one after the other over one connection. The second table sets a wait before each reply of Redis,
so that a round trip shows. Needs redis-server and Python 3; a round trip to the store is measured by PING.
"""
import argparse, http.client, json, os, queue, shutil, signal, socket, statistics, subprocess, sys, tempfile, threading, time, urllib.parse


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def until(holds, what):
    for _ in range(600):
        if holds():
            return
        time.sleep(0.05)
    sys.exit(f"never: {what}")


def answers(port, path):
    try:
        return ask(http.client.HTTPConnection("127.0.0.1", port, timeout=2), path)[0]
    except OSError:
        return False


def ask(connection, path):
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    return response.status == 200, response.getheader("X-Cache"), response.getheader("Cache-Status") or ""


class Line:
    """Passes connections on to a port, each chunk of the replies this many seconds late, however many are on their way."""

    def __init__(self, to, delay):
        self.to, self.delay = to, delay
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(("127.0.0.1", self.to))
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.pass_on, args=(client, server, 0), daemon=True).start()
            threading.Thread(target=self.pass_on, args=(server, client, self.delay), daemon=True).start()

    @staticmethod
    def pass_on(source, target, delay):
        chunks = queue.SimpleQueue()
        threading.Thread(target=Line.deliver, args=(chunks, source, target), daemon=True).start()
        try:
            while chunk := source.recv(65536):
                chunks.put((time.monotonic() + delay, chunk))
        except OSError:
            pass
        chunks.put((0, b""))

    @staticmethod
    def deliver(chunks, source, target):
        try:
            while (next := chunks.get())[1]:
                time.sleep(max(0, next[0] - time.monotonic()))
                target.sendall(next[1])
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def redis(port, *words):
    with socket.create_connection(("127.0.0.1", port)) as to:
        to.sendall(b"".join([b"*%d\r\n" % len(words)] + [b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in words]))
        return to.recv(65536)


def round_trip(port):
    with socket.create_connection(("127.0.0.1", port)) as to:
        times = []
        for _ in range(200):
            began = time.perf_counter()
            to.sendall(b"*1\r\n$4\r\nPING\r\n")
            to.recv(64)
            times.append(time.perf_counter() - began)
    return statistics.median(times)


class Bench:
    def __init__(self, arguments):
        self.arguments, self.started = arguments, []
        self.work = tempfile.mkdtemp()
        self.redis_port, self.sim = free_port(), free_port()
        self.start(["redis-server", "--port", str(self.redis_port), "--save", "", "--appendonly", "no"])
        self.start([arguments.new, "sim", "--listen", f"127.0.0.1:{self.sim}", "--symbols", "500"])
        until(lambda: answers(self.sim, "/api/v3/exchangeInfo"), "the simulated exchange answers")
        connection = http.client.HTTPConnection("127.0.0.1", self.sim)
        # The limit of an exchange is not the subject.
        connection.request("POST", "/_sim/limits", json.dumps({"spot": 1_000_000, "futures": 1_000_000}))
        connection.getresponse().read()
        connection.request("GET", "/api/v3/exchangeInfo")
        self.symbols = [one["symbol"] for one in json.load(connection.getresponse())["symbols"]]

    def start(self, command, **more):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.started.append(subprocess.Popen(command, cwd=self.work, **quiet, **more))
        return self.started[-1]

    def gateway(self, program, store):
        port, data = free_port(), tempfile.mkdtemp(dir=self.work)
        base = f"http://127.0.0.1:{self.sim}"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LASTGOOD_")}
        environment |= {"LASTGOOD_BINANCE_SPOT_URL": base, "LASTGOOD_BINANCE_FUTURES_URL": base, "LASTGOOD_DATA_DIR": data}
        command = [program, "serve", "--listen", f"127.0.0.1:{port}", "--store", f"redis://127.0.0.1:{store}/"]
        # Candles are loaded key by key, and stay fresh for long enough to be hit.
        command += ["--set", "regions.klines.fresh_for=1h"]
        command += ["--set", "store_budget=200ms", "--set", "log.level=error"]
        running = self.start(command, env=environment)
        until(lambda: answers(port, "/health"), "the gateway answers")

        def attached():
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("GET", "/health")
            return json.load(connection.getresponse())["cache"].get("state") == "ok"

        until(attached, "the gateway reaches Redis")
        return running, port

    def stretch(self, program, store, paths):
        """Milliseconds of each cold load, and of each hit."""
        redis(self.redis_port, "FLUSHALL")
        running, port = self.gateway(program, store)
        connection = http.client.HTTPConnection("127.0.0.1", port)
        ask(connection, "/livez")
        time.sleep(0.5)
        taken = {"MISS": [], "HIT": []}
        for wanted in taken:
            for path in paths:
                began = time.perf_counter()
                is_good, outcome, body = ask(connection, path)
                took = (time.perf_counter() - began) * 1000
                if not is_good or outcome != wanted:
                    sys.exit(f"{path}: {outcome}, not {wanted}: {body}")
                taken[wanted].append(took)
        running.send_signal(signal.SIGTERM)
        running.wait(20)
        return taken

    def compare(self, delay):
        line = Line(self.redis_port, delay) if delay else None
        store = line.port if line else self.redis_port
        programs = {"before": self.arguments.old, "now": self.arguments.new}
        medians = {(name, kind): [] for name in programs for kind in ("MISS", "HIT")}
        for _ in range(self.arguments.rounds):
            for name, program in programs.items():
                taken = self.stretch(program, store, self.paths())
                for kind, times in taken.items():
                    medians[name, kind].append(statistics.median(times))
        trip = round_trip(store) * 1000
        print(f"\nA round trip to Redis takes {trip:.3f} ms. Medians of {self.arguments.requests} requests, in ms; "
              f"of {self.arguments.rounds} rounds the median (least to most).\n")
        print("| | before leases | now | difference |\n|---|---|---|---|")
        for kind, title in (("MISS", "cold load"), ("HIT", "hit")):
            cells = [medians[name, kind] for name in programs]
            shown = [f"{statistics.median(cell):.3f} ({min(cell):.3f} to {max(cell):.3f})" for cell in cells]
            differences = [after - before for before, after in zip(*cells)]
            print(f"| {title} | {shown[0]} | {shown[1]} | {statistics.median(differences):+.3f} |")
        sys.stdout.flush()

    def paths(self):
        intervals = ["1d", "1h", "4h", "12h", "1w", "2h", "6h", "8h"]
        paths = [f"/api/v3/klines?symbol={urllib.parse.quote(symbol)}&interval={interval}&limit=10"
                 for interval in intervals for symbol in self.symbols]
        return paths[: self.arguments.requests]

    def end(self):
        for process in self.started:
            process.kill()
        shutil.rmtree(self.work, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--requests", type=int, default=400)
    arguments = parser.parse_args()
    arguments.old, arguments.new = (os.path.abspath(program) for program in (arguments.old, arguments.new))
    bench = Bench(arguments)
    try:
        bench.compare(0)
        bench.compare(0.005)
    finally:
        bench.end()


main()
