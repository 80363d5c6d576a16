#!/usr/bin/env python3
"""The platform's web app under load: what its pages ask for, through lastgood.

    python3 examples/signals/load.py http://127.0.0.1:8090
"""

import itertools
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness import measure  # noqa: E402

TIMEFRAMES = ("15m", "1h", "4h", "1d")
PAIRS = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT")

# Every route once, as the first page of the platform asks for it.
ANALYTICS = [f"/v1/analytics/{name}" for name in (
    "agents", "symbols", "timeframes", "pnl", "hours", "streaks", "drawdown", "volume", "calibration", "movers")]
MARKET = ["/v1/symbols/spot?quote=USDT&limit=50", "/api/v3/ticker/price?symbol=BTCUSDT",
          *(f"/api/v3/klines?symbol=BTCUSDT&interval={timeframe}&limit=100" for timeframe in TIMEFRAMES)]
ROUTES = [*MARKET, *ANALYTICS, "/v1/agents/leaderboard", "/v1/signals"]


def pages():
    """What the pages of many users ask for: the same few things, and now and then another pair or agent."""
    yield from ROUTES
    yield from (f"/api/v3/ticker/price?symbol={pair}" for pair in PAIRS)
    for pair, timeframe in itertools.product(PAIRS, TIMEFRAMES):
        yield f"/api/v3/klines?symbol={pair}&interval={timeframe}&limit=100"
    yield from (f"/v1/analytics/timeframes?symbol={pair}" for pair in PAIRS)
    yield from (f"/v1/signals?symbol={pair}" for pair in PAIRS)
    yield from (f"/v1/analytics/pnl?agent_id={agent}" for agent in range(1, 9))
    yield from (f"/v1/agents/leaderboard?days={days}" for days in (1, 7, 30))


def run(url):
    return measure.load(url, list(pages()), workers=4, requests=2000)


if __name__ == "__main__":
    sys.exit(0 if run(sys.argv[1])["met"] else 1)
