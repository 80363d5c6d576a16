"""ccxt, spot and USD-M futures."""

import re
import sys

import ccxt

from compare import KEY, SECRET, Calls, run


def exchange(kind, base):
    options = {"recvWindow": 60_000}
    if sys.argv[1] == "last-good":
        # With a key, load_markets asks for the account's currencies and margin pairs, which are not kept for bad days.
        options |= {"fetchCurrencies": False, "fetchMargins": False}
    made = kind({"apiKey": KEY, "secret": SECRET, "enableRateLimit": False, "options": options})
    api = made.urls["api"]
    for name, url in api.items():
        # The scheme and host give way to the gateway's; the path stays.
        api[name] = re.sub(r"^https://[^/]+", base, url)
    return made


def connect(base):
    spot, futures = exchange(ccxt.binance, base), exchange(ccxt.binanceusdm, base)
    return Calls(
        market={
            "spot markets": spot.load_markets,
            "spot candles": lambda: spot.fetch_ohlcv("BTC/USDT", "1h", limit=50),
            "spot candles since": lambda: spot.fetch_ohlcv("ETH/USDT", "1d", since=1_700_000_000_000, limit=20),
            "spot ticker": lambda: spot.fetch_ticker("BTC/USDT"),
            "spot tickers": spot.fetch_tickers,
            "spot some tickers": lambda: spot.fetch_tickers(["BTC/USDT", "ETH/USDT"]),
            "spot order book": lambda: spot.fetch_order_book("BTC/USDT", 20),
            "spot bids and asks": lambda: spot.fetch_bids_asks(["BTC/USDT"]),
            "spot trades": lambda: spot.fetch_trades("BTC/USDT", limit=10),
            "futures markets": futures.load_markets,
            "futures candles": lambda: futures.fetch_ohlcv("BTC/USDT:USDT", "1h", limit=50),
            "futures ticker": lambda: futures.fetch_ticker("BTC/USDT:USDT"),
            "futures tickers": futures.fetch_tickers,
            "futures order book": lambda: futures.fetch_order_book("BTC/USDT:USDT", 50),
            "funding rate": lambda: futures.fetch_funding_rate("BTC/USDT:USDT"),
        },
        signed={
            "spot balance": spot.fetch_balance,
            "futures balance": futures.fetch_balance,
        },
        unknown=lambda: spot.publicGetKlines({"symbol": "NOSUCHCOIN", "interval": "1h"}),
        raises=ccxt.BadSymbol,
    )


run(connect)
