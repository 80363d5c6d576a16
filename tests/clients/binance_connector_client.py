"""binance-connector, spot."""

from binance.spot import Spot

from compare import KEY, SECRET, refusal, run


def ask(base):
    client = Spot(api_key=KEY, api_secret=SECRET, base_url=base, show_limit_usage=True)
    unknown = refusal(lambda: client.klines("NOSUCHCOIN", "1h"))
    assert unknown["raises"] == "ClientError" and "-1121" in unknown["text"], unknown
    used = client.ticker_price("BTCUSDT")["limit_usage"]
    assert "x-mbx-used-weight-1m" in used, used
    calls = {
        "exchange info": client.exchange_info("BTCUSDT"),
        "klines": client.klines("BTCUSDT", "1h", limit=100),
        "depth": client.depth("BTCUSDT", limit=10),
        "trades": client.trades("BTCUSDT", limit=10),
        "aggregate trades": client.agg_trades("BTCUSDT", limit=10),
        "average price": client.avg_price("BTCUSDT"),
        "day": client.ticker_24hr(symbols=["BTCUSDT", "ETHUSDT"]),
        "price": client.ticker_price("BTCUSDT"),
        "book": client.book_ticker(symbols=["BTCUSDT", "ETHUSDT"]),
        "window": client.rolling_window_ticker("BTCUSDT", windowSize="1h"),
    }
    results = {name: answer["data"] for name, answer in calls.items()}
    results["account"] = client.account(recvWindow=60_000)["data"]["balances"]
    return results


run(ask)
