#!/usr/bin/env python3
"""Instructions of one hit over HTTP outside the kernel, counted by valgrind: they do not depend on how busy the machine is.

    benches/instructions.py [--lastgood PROGRAM] [--profile FOLDER] [--only NAME,NAME] [--growth]

Fails where a hit takes more than its ceiling. With `--profile` what callgrind has written is left there, for callgrind_annotate;
for names of functions build with CARGO_PROFILE_RELEASE_STRIP=none CARGO_PROFILE_RELEASE_DEBUG=line-tables-only.
"""
import argparse, glob, json, os, re, socket, subprocess, sys, tempfile

from hits import CASES
from servers import Servers, get

# What was counted, and a twentieth more. Raise one only for something that is worth it.
CEILINGS = {
    "ticker": 11_750,
    "one symbol": 11_950,
    "klines": 14_700,
    "klines gzip": 14_650,
    "exchangeInfo": 11_500,
    "exchangeInfo gzip": 13_050,
    "kv value": 14_950,
    "declared route": 12_950,
    "ticker, known": 13_400,
    "a miss": 135_650,
    "a route's miss": 160_900,
}
HITS, MISSES, WARM = 500, 200, 50
# Numbers of keys, and sizes of their values.
GROWTH = [(1_000, 1 << 10), (100_000, 1 << 10), (1_000, 100 << 10)]
MISS, ROUTE_MISS = "a miss", "a route's miss"
# Cases of which the client has the answer already.
KNOWN = {"ticker, known": "ticker"}


def ask(connection, request, wanted=rb"etag: (.*?)\r\n"):
    """Sends a request and reads its whole answer; gives what of its head is wanted: its tag, if nothing else."""
    connection.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        received = connection.recv(1 << 20)
        assert received, "the connection was closed"
        answer += received
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    left = int(length.group(1)) - len(body) if length else 0
    while left > 0:
        left -= len(connection.recv(1 << 20))
    found = re.search(wanted, head + b"\r\n")
    return found and found.group(1)


def ask_hit(connection, request):
    assert ask(connection, request, rb"x-cache: (\w+)") == b"HIT", request


def instructions(servers, exchange, name, folder, warm, counted, **options):
    """Instructions of a gateway while it answers the requests of `counted`, each of them once; those of `warm` come first. Of the
    thread that answers: the one that writes to the file of a store does so by the clock, whatever is asked meanwhile.
    """
    output = os.path.join(folder, f"{name.replace(' ', '-')}.callgrind")
    for earlier in glob.glob(f"{glob.escape(output)}*"):
        os.remove(earlier)
    under = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes", f"--callgrind-out-file={output}"]
    gateway = servers.gateway(f"under callgrind {name}", servers.lastgood, exchange, under, **options)
    control = lambda switch: subprocess.run(["callgrind_control", "-i", switch, str(gateway.process.pid)], check=True, capture_output=True)
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        requests = warm(connection) or counted
        control("on")
        for request in requests:
            ask(connection, request)
        control("off")
    gateway.process.terminate()
    gateway.process.wait()
    return max(total(path) for path in glob.glob(f"{glob.escape(output)}-*")) // len(requests)


def total(path):
    with open(path) as file:
        return int(re.search(r"^totals: (\d+)", file.read(), re.MULTILINE).group(1))


def written(target, more=""):
    return f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}\r\n".encode()


def count(servers, exchange, name, folder):
    target, coding = CASES[KNOWN.get(name, name)]
    encoding = f"Accept-Encoding: {coding}\r\n" if coding else ""

    def warm(connection):
        # The first loads the answer; the others warm the parts that are made once.
        ask(connection, written(target, encoding))
        tag = ask(connection, written(target, encoding)) or b""
        request = written(target, encoding + (f"If-None-Match: {tag.decode()}\r\n" if name in KNOWN else ""))
        for _ in range(50):
            ask_hit(connection, request)
        return [request] * HITS

    return instructions(servers, exchange, name, folder, warm, ())


def count_misses(servers, exchange, name, folder):
    """Of questions that were never asked before, with an embedded store, which is given the answers within the count."""
    if name == ROUTE_MISS:
        targets = [f"/v1/quotes/BTCUSDT?days={days}" for days in range(1, 366)]
    else:
        symbols = [row["symbol"] for row in json.loads(get(exchange, "/api/v3/exchangeInfo")[2])["symbols"]]
        targets = [f"/api/v3/avgPrice?symbol={symbol}" for symbol in symbols]
    requests = [written(target) for target in targets[: WARM + MISSES]]

    def warm(connection):
        for request in requests[:WARM]:
            assert ask(connection, request, rb"x-cache: (\w+)") == b"MISS", request

    return instructions(servers, exchange, name, folder, warm, requests[WARM:], store="embedded:")


def put(connection, target, body):
    connection.sendall(f"PUT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    return ask(connection, b"")


def grow(servers, exchange, folder):
    """Prints what a hit of a value takes, by the number of values that are kept, by their size, and by connections."""
    print("\nhow that grows: a value of an application")
    for keys, size in GROWTH:
        def warm(connection):
            for number in range(keys):
                put(connection, f"/v1/kv/kv/{number}", os.urandom(size))
            hits = [written(f"/v1/kv/kv/{number * 7919 % keys}") for number in range(HITS)]
            # The parts that are made once are made of each.
            for request in hits:
                ask_hit(connection, request)
            return hits

        name = f"{keys} keys {size} bytes"
        counted = instructions(servers, exchange, name, folder, warm, (), more=["--set", "memory.limit=4GiB"])
        print(f"{keys:>7,} keys, {size:>7,} bytes {counted:>8,}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lastgood", help="the program; by default the release build")
    parser.add_argument("--profile", help="where to leave the profiles")
    parser.add_argument("--only", help="names of cases, instead of all")
    parser.add_argument("--growth", action="store_true", help="also with more keys and larger values, in some minutes")
    chosen = parser.parse_args()
    program = chosen.lastgood and os.path.abspath(chosen.lastgood)
    profile = chosen.profile and os.path.abspath(chosen.profile)
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        servers = Servers(folder, program, None)
        try:
            exchange = servers.serve("exchange", [servers.lastgood, "sim", "--listen", "127.0.0.1:PORT"], core=1).port
            print("instructions of a hit, and of a miss, outside the kernel")
            for name, ceiling in CEILINGS.items():
                if chosen.only and name not in chosen.only.split(","):
                    continue
                counted = (count_misses if name in (MISS, ROUTE_MISS) else count)(servers, exchange, name, profile or folder)
                failed |= counted > ceiling
                print(f"{name:<20} {counted:>8,} of {ceiling:,}{' TOO MANY' if counted > ceiling else ''}", flush=True)
            if chosen.growth:
                grow(servers, exchange, profile or folder)
        finally:
            servers.stop()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
