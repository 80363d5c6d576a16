#!/usr/bin/env python3
"""First paint of the operator's page, and the bytes sent until then: the release build in a headless Chromium.

Fails over 100 ms or 150 KB. Another bound: benches/page.py --most-ms 200.
"""

import argparse
import json
import os
import pathlib
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def address(gateway):
    """Where the gateway listens, by its log; its port was free a moment ago."""
    for line in gateway.stderr:
        event = json.loads(line)
        if "listen" in event.get("fields", event):
            return event.get("fields", event)["listen"]
    raise SystemExit("the gateway ended before it listened")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most-ms", default="100")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program = [ROOT / "target/release/lastgood", "serve", "--listen", "127.0.0.1:0", "--data-dir", folder]
        settings = ["--set", "binance=off", "--set", "log.format=json"]
        gateway = subprocess.Popen(program + settings, stderr=subprocess.PIPE, text=True, cwd=folder)
        try:
            environment = {**os.environ, "GATEWAY_URL": address(gateway), "MOST_MS": arguments.most_ms}
            subprocess.run(["node", ROOT / "tests/browser/page.mjs", "paint"], env=environment, check=True)
        finally:
            gateway.terminate()
            gateway.wait()


if __name__ == "__main__":
    main()
