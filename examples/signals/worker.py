#!/usr/bin/env python3
"""The worker: looks at the market through lastgood, closes signals whose time is up, publishes new ones, and invalidates
what the pages hold of them. What it has worked out for a pair it keeps in lastgood, too, for the next round.

    DATABASE_URL=postgres://… python3 examples/signals/worker.py http://127.0.0.1:8090 --every 60

Without lastgood it goes on: it works everything out again, and asks the exchange itself where `--exchange` says which.
After each round it logs its hit rate. It takes Python's standard library and `psql`. LASTGOOD_ADMIN_TOKEN is sent where it is
set.
"""

import argparse
import http.client
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
# Where its values lie, and for how long they are of use: until the next round but one.
REGION = "worker"
VERDICT_FOR = 120
HITS = ("HIT", "STALE")

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
    """lastgood. Where it is away, its values are absent and writes to it are forgone; nothing is raised."""

    def __init__(self, url, exchange=None):
        self.url, self.exchange, self.token = url.rstrip("/"), exchange, os.environ.get("LASTGOOD_ADMIN_TOKEN")
        self.asked, self.hits, self.away = 0, 0, 0

    def send(self, method, path, body=None, content_type="application/json"):
        """(status, X-Cache, body); a status of 0 without an answer."""
        request = urllib.request.Request(f"{self.url}{path}", body, {"Content-Type": content_type}, method=method)
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.headers["X-Cache"], answer.read()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.headers["X-Cache"], refusal.read()
        except (OSError, http.client.HTTPException):
            self.away += 1
            return 0, None, b""

    def read(self, path, fresh=False):
        """The body of a good answer, or None; of a fresh one alone, if that is asked for."""
        status, how, body = self.send("GET", path)
        self.asked += 1
        self.hits += how in HITS
        return body if status == 200 and (how == "HIT" or not fresh) else None

    def market(self, path, **query):
        """What the exchange says, through lastgood; from the exchange itself where lastgood is away."""
        path = f"{path}?{urllib.parse.urlencode(query)}" if query else path
        body = self.read(path)
        if body is None and self.exchange:
            try:
                with urllib.request.urlopen(f"{self.exchange}{path}", timeout=10) as answer:
                    body = answer.read()
            except (OSError, http.client.HTTPException):
                pass
        return None if body is None else json.loads(body)

    def symbols(self, pairs):
        """The first pairs of the market."""
        body = self.read(f"/v1/symbols/spot?quote=USDT&limit={pairs}")
        if body is not None:
            return [row["symbol"] for row in json.loads(body)["symbols"]]
        listed = [row["symbol"] for row in self.market("/api/v3/ticker/price") or []]
        return [symbol for symbol in listed if symbol.endswith("USDT")][:pairs]

    def get(self, key):
        """A value of the worker's own, or None; also once its time is over."""
        body = self.read(value_path(key), fresh=True)
        return None if body is None else json.loads(body)

    def set(self, key, value, seconds):
        """Keeps a value for so long. Says whether it is kept."""
        return self.send("PUT", f"{value_path(key)}?ttl={seconds}s", json.dumps(value).encode())[0] in (201, 202, 204)

    def delete(self, key):
        """Forgets a value. Says whether it is forgotten."""
        return self.send("DELETE", value_path(key))[0] in (202, 204)

    def invalidate(self, tag):
        """Marks what has the tag as outdated, so that the next reader gets it from the database. Says how much that is;
        None where lastgood is away: then it is seen at the latest when the kept answer is no longer fresh."""
        status, _, body = self.send("POST", "/api/cache/invalidate", json.dumps({"tag": tag}).encode())
        return json.loads(body)["matched"] if status in (200, 202) else None


def value_path(key):
    return f"/v1/kv/{REGION}/{urllib.parse.quote(key, safe='')}"


def judge(candles):
    """(direction, confidence) of a list of candles: where the last hours stand against all of them."""
    closes = [float(candle[4]) for candle in candles]
    mean, late = sum(closes) / len(closes), sum(closes[-6:]) / len(closes[-6:])
    spread = max(closes) - min(closes) or 1.0
    return "long" if late >= mean else "short", round(min(0.35 + abs(late - mean) / spread, 0.95), 3)


def look(gateway, pairs):
    """The signals of this moment, for the first pairs of the exchange's list: those worked out a moment ago, else new."""
    found = []
    for symbol in gateway.symbols(pairs):
        for timeframe in TIMEFRAMES:
            key = f"verdict:{symbol}:{timeframe}"
            verdict = gateway.get(key)
            if verdict is None:
                candles = gateway.market("/api/v3/klines", symbol=symbol, interval=timeframe, limit=CANDLES)
                if not candles:
                    continue
                verdict = judge(candles)
                gateway.set(key, verdict, VERDICT_FOR)
            found.append((symbol, timeframe, *verdict))
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
    """One round; gives back what it has written, and how much of what it read was there already."""
    gateway.set("round", {"began": time.time()}, 600)
    found = look(gateway, pairs)
    prices = [(row["symbol"], row["price"]) for row in gateway.market("/api/v3/ticker/price") or []]
    if not prices:
        return {"signals": 0, "outcomes": 0, "skipped": "neither lastgood nor the exchange answers"}
    written = write(database, prices, found)
    # After the commit: reads from here on have the round in them.
    written["invalidated"] = gateway.invalidate("signals")
    gateway.delete("round")
    return written


def log(gateway, written):
    """One line a round, for people."""
    rate = gateway.hits / gateway.asked if gateway.asked else 0
    what = written.get("skipped") or f"{written['signals']} signals published, {written['outcomes']} closed"
    away = f"; lastgood did not answer {gateway.away} times" if gateway.away else ""
    print(f"round {written.get('run', '-')}: {what}; {gateway.hits} of {gateway.asked} reads were hits ({rate:.0%}){away}",
          file=sys.stderr, flush=True)


def main():
    arguments = argparse.ArgumentParser(description="The signal platform's worker.")
    arguments.add_argument("gateway", help="where lastgood listens")
    arguments.add_argument("--exchange", help="the exchange itself, for when lastgood is away")
    arguments.add_argument("--pairs", type=int, default=10, help="how many of the exchange's pairs it looks at")
    arguments.add_argument("--every", type=float, help="seconds from round to round; without it, one round")
    given = arguments.parse_args()
    while True:
        gateway = Gateway(given.gateway, given.exchange)
        written = run_once(gateway, os.environ["DATABASE_URL"], given.pairs)
        log(gateway, written)
        print(json.dumps({**written, "reads": gateway.asked, "hits": gateway.hits}), flush=True)
        if given.every is None:
            return
        time.sleep(given.every)


if __name__ == "__main__":
    main()
