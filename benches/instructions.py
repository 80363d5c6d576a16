#!/usr/bin/env python3
"""Instructions of one hit over HTTP outside the kernel, counted by valgrind: they do not depend on how busy the machine is.

    benches/instructions.py [--lastgood PROGRAM] [--profile FOLDER]

Fails where a hit takes more than its ceiling. With `--profile` what callgrind has written is left there, for callgrind_annotate;
for names of functions build with CARGO_PROFILE_RELEASE_STRIP=none CARGO_PROFILE_RELEASE_DEBUG=line-tables-only.
"""
import argparse, os, re, socket, subprocess, sys, tempfile

from hits import CASES
from servers import Servers

# What was counted, and a twentieth more. Raise one only for something that is worth it.
CEILINGS = {
    "ticker": 14_300,
    "one symbol": 14_300,
    "klines": 17_200,
    "klines gzip": 17_100,
    "exchangeInfo": 14_400,
    "exchangeInfo gzip": 15_600,
    "kv value": 18_500,
    "declared route": 15_300,
    "ticker, known": 15_300,
}
HITS = 500
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


def count(servers, exchange, name, folder):
    target, gzip = CASES[KNOWN.get(name, name)]
    output = os.path.join(folder, f"{name.replace(' ', '-')}.callgrind")
    under = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={output}"]
    gateway = servers.gateway(f"under callgrind {name}", servers.lastgood, exchange, under)
    encoding = "Accept-Encoding: gzip\r\n" if gzip else ""
    written = lambda more: f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\n{encoding}{more}\r\n".encode()
    control = lambda switch: subprocess.run(["callgrind_control", "-i", switch, str(gateway.process.pid)], check=True, capture_output=True)
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        # The first loads the answer; the others warm the parts that are made once.
        ask(connection, written(""))
        tag = ask(connection, written("")) or b""
        request = written(f"If-None-Match: {tag.decode()}\r\n" if name in KNOWN else "")
        for _ in range(50):
            ask_hit(connection, request)
        control("on")
        for _ in range(HITS):
            ask(connection, request)
        control("off")
    gateway.process.terminate()
    gateway.process.wait()
    with open(output) as file:
        return int(re.search(r"^totals: (\d+)", file.read(), re.MULTILINE).group(1)) // HITS


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lastgood", help="the program; by default the release build")
    parser.add_argument("--profile", help="where to leave the profiles")
    chosen = parser.parse_args()
    program = chosen.lastgood and os.path.abspath(chosen.lastgood)
    profile = chosen.profile and os.path.abspath(chosen.profile)
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        servers = Servers(folder, program, None)
        try:
            exchange = servers.serve("exchange", [servers.lastgood, "sim", "--listen", "127.0.0.1:PORT"], core=1).port
            print("instructions of a hit, outside the kernel")
            for name, ceiling in CEILINGS.items():
                counted = count(servers, exchange, name, profile or folder)
                failed |= counted > ceiling
                print(f"{name:<20} {counted:>8,} of {ceiling:,}{' TOO MANY' if counted > ceiling else ''}", flush=True)
        finally:
            servers.stop()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
