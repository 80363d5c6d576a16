"""ccxt, spot and USD-M futures."""

import re

import ccxt

from compare import KEY, SECRET, refusal, run


def exchange(kind, base):
    options = {"fetchCurrencies": False, "fetchMargins": False, "recvWindow": 60_000}
    made = kind({"apiKey": KEY, "secret": SECRET, "enableRateLimit": False, "options": options})
    api = made.urls["api"]
    for name, url in api.items():
        # The scheme and host give way to the gateway's; the path stays.
        api[name] = re.sub(r"^https://[^/]+", base, url)
    return made


def ask(base):
    spot, futures = exchange(ccxt.binance, base), exchange(ccxt.binanceusdm, base)
    return {
        "spot markets": spot.load_markets(),
        "spot candles": spot.fetch_ohlcv("BTC/USDT", "1h", limit=50),
        "spot candles since": spot.fetch_ohlcv("ETH/USDT", "1d", since=1_700_000_000_000, limit=20),
        "spot ticker": spot.fetch_ticker("BTC/USDT"),
        "spot tickers": spot.fetch_tickers(),
        "spot some tickers": spot.fetch_tickers(["BTC/USDT", "ETH/USDT"]),
        "spot order book": spot.fetch_order_book("BTC/USDT", 20),
        "spot bids and asks": spot.fetch_bids_asks(["BTC/USDT"]),
        "spot trades": spot.fetch_trades("BTC/USDT", limit=10),
        "futures markets": futures.load_markets(),
        "futures candles": futures.fetch_ohlcv("BTC/USDT:USDT", "1h", limit=50),
        "futures ticker": futures.fetch_ticker("BTC/USDT:USDT"),
        "futures tickers": futures.fetch_tickers(),
        "futures order book": futures.fetch_order_book("BTC/USDT:USDT", 50),
        "funding rate": futures.fetch_funding_rate("BTC/USDT:USDT"),
        "unknown symbol": refusal(lambda: spot.publicGetKlines({"symbol": "NOSUCHCOIN", "interval": "1h"})),
    }


def ask_with_balance(base):
    results = ask(base)
    results["balance"] = {**exchange(ccxt.binance, base).fetch_balance(), "info": None, "timestamp": None, "datetime": None}
    assert results["unknown symbol"]["raises"] == "BadSymbol", results["unknown symbol"]
    return results


run(ask_with_balance)
