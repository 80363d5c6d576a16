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
    "ticker": 21_900,
    "one symbol": 26_900,
    "klines": 32_300,
    "klines gzip": 35_300,
    "exchangeInfo": 20_000,
    "exchangeInfo gzip": 21_100,
    "kv value": 30_800,
}
HITS = 500


def ask(connection, request):
    """Sends a request and reads its whole answer."""
    connection.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(1 << 20)
    head, _, body = answer.partition(b"\r\n\r\n")
    left = int(re.search(rb"content-length: (\d+)", head).group(1)) - len(body)
    while left > 0:
        left -= len(connection.recv(1 << 20))
    return b"x-cache: HIT" in head


def count(servers, exchange, name, folder):
    target, gzip = CASES[name]
    output = os.path.join(folder, f"{name.replace(' ', '-')}.callgrind")
    under = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={output}"]
    gateway = servers.gateway(f"under callgrind {name}", servers.lastgood, exchange, under)
    encoding = "Accept-Encoding: gzip\r\n" if gzip else ""
    request = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\n{encoding}\r\n".encode()
    control = lambda switch: subprocess.run(["callgrind_control", "-i", switch, str(gateway.process.pid)], check=True, capture_output=True)
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        # The first loads the answer; the others warm the parts that are made once.
        if not all([ask(connection, request) for _ in range(50)][1:]):
            sys.exit(f"{name} is no hit")
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
