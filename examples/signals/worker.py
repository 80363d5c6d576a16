#!/usr/bin/env python3
"""The worker: looks at the market through lastgood, closes signals whose time is up, publishes new ones, and invalidates
what the pages hold of them.

    DATABASE_URL=postgres://… python3 examples/signals/worker.py http://127.0.0.1:8090 --every 60

It takes Python's standard library and `psql`. LASTGOOD_ADMIN_TOKEN is sent where it is set.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

TIMEFRAMES = ("15m", "1h", "4h", "1d")
CANDLES = 24

# One transaction: who reads after it sees all of the round, who reads before it sees nothing of it.
ROUND = """
BEGIN;
CREATE TEMP TABLE price (symbol text PRIMARY KEY, price numeric NOT NULL) ON COMMIT DROP;
COPY price FROM STDIN;
{prices}
\\.
CREATE TEMP TABLE found (
    nth serial, symbol text NOT NULL, timeframe text NOT NULL, direction text NOT NULL, confidence numeric NOT NULL
) ON COMMIT DROP;
COPY found (symbol, timeframe, direction, confidence) FROM STDIN;
{found}
\\.
INSERT INTO symbols (symbol) SELECT symbol FROM found GROUP BY symbol ORDER BY min(nth) ON CONFLICT DO NOTHING;
INSERT INTO pipeline_runs DEFAULT VALUES RETURNING id AS run \\gset
WITH due AS (
    SELECT s.id, p.price, 100 * (p.price / s.entry_price - 1) * CASE s.direction WHEN 'long' THEN 1 ELSE -1 END AS move
    FROM signals s JOIN symbols y ON y.id = s.symbol_id JOIN price p ON p.symbol = y.symbol
    WHERE s.created_at > now() - interval '7 days' AND s.created_at + life(s.timeframe) <= now()
      AND NOT EXISTS (SELECT FROM outcomes o WHERE o.signal_id = s.id)
), closed AS (
    INSERT INTO outcomes (signal_id, exit_price, return_pct, pnl)
    SELECT id, price, round(least(move, 10000), 4), round(10 * least(move, 10000), 4) FROM due RETURNING 1
)
SELECT count(*) AS outcomes FROM closed \\gset
WITH published AS (
    INSERT INTO signals (run_id, agent_id, symbol_id, timeframe, direction, confidence, entry_price)
    SELECT :run, a.id, y.id, f.timeframe, f.direction, f.confidence, p.price
    FROM found f JOIN symbols y USING (symbol) JOIN price p USING (symbol)
    JOIN (SELECT id, row_number() OVER (ORDER BY id) AS nth, count(*) OVER () AS agents FROM agents WHERE is_active) a
      ON a.nth = 1 + (f.nth + :run) % a.agents
    ORDER BY f.nth RETURNING 1
)
SELECT count(*) AS signals FROM published \\gset
UPDATE pipeline_runs SET finished_at = clock_timestamp(), signals_written = :signals, outcomes_written = :outcomes
WHERE id = :run;
COMMIT;
SELECT json_build_object('run', :run, 'signals', :signals, 'outcomes', :outcomes);
"""


class Gateway:
    def __init__(self, url):
        self.url, self.token = url.rstrip("/"), os.environ.get("LASTGOOD_ADMIN_TOKEN")

    def get(self, path, **query):
        with urllib.request.urlopen(f"{self.url}{path}?{urllib.parse.urlencode(query)}", timeout=30) as answer:
            return json.load(answer)

    def invalidate(self, tag):
        """Marks what has the tag as outdated: the next reader gets it from the database."""
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(
            f"{self.url}/api/cache/invalidate", json.dumps({"tag": tag}).encode(), headers, method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


def judge(candles):
    """(direction, confidence) of a list of candles: where the last hours stand against all of them."""
    closes = [float(candle[4]) for candle in candles]
    mean, late = sum(closes) / len(closes), sum(closes[-6:]) / len(closes[-6:])
    spread = max(closes) - min(closes) or 1.0
    return "long" if late >= mean else "short", round(min(0.35 + abs(late - mean) / spread, 0.95), 3)


def look(gateway, pairs):
    """The signals of this moment, for the first pairs of the exchange's list."""
    found = []
    for row in gateway.get("/v1/symbols/spot", quote="USDT", limit=pairs)["symbols"]:
        for timeframe in TIMEFRAMES:
            candles = gateway.get("/api/v3/klines", symbol=row["symbol"], interval=timeframe, limit=CANDLES)
            if candles:
                found.append((row["symbol"], timeframe, *judge(candles)))
    return found


def rows(tuples):
    """Lines for COPY. Names and numbers of an exchange have no tab, line end or backslash; what has one is left out."""
    lines = ("\t".join(map(str, row)) for row in tuples if not any(set("\t\r\n\\") & set(str(one)) for one in row))
    return "\n".join(lines)


def write(database, prices, found):
    """Writes a round; gives back what it has written."""
    script = ROUND.format(prices=rows(prices), found=rows(found))
    done = subprocess.run(
        ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", database], input=script, text=True, capture_output=True)
    if done.returncode != 0:
        sys.exit(f"the round could not be written: {done.stderr}")
    return json.loads(done.stdout)


def run_once(gateway, database, pairs=10):
    found = look(gateway, pairs)
    prices = [(row["symbol"], row["price"]) for row in gateway.get("/api/v3/ticker/price")]
    written = write(database, prices, found)
    # After the commit: what is read from here on has the round in it.
    try:
        written["invalidated"] = gateway.invalidate("signals")["matched"]
    except (urllib.error.URLError, OSError) as failure:
        # The rows are there, and are seen at the latest when what is held is no longer fresh.
        written["invalidated"] = f"not now: {failure}"
    return written


def main():
    arguments = argparse.ArgumentParser(description="The signal platform's worker.")
    arguments.add_argument("gateway", help="where lastgood listens")
    arguments.add_argument("--pairs", type=int, default=10, help="how many of the exchange's pairs it looks at")
    arguments.add_argument("--every", type=float, help="seconds from round to round; without it, one round")
    given = arguments.parse_args()
    while True:
        print(json.dumps(run_once(Gateway(given.gateway), os.environ["DATABASE_URL"], given.pairs)), flush=True)
        if given.every is None:
            return
        time.sleep(given.every)


if __name__ == "__main__":
    main()
