"""binance-connector, spot."""

from binance.error import ClientError
from binance.spot import Spot

from compare import KEY, SECRET, Calls, run


def connect(base):
    client = Spot(api_key=KEY, api_secret=SECRET, base_url=base)
    metered = Spot(base_url=base, show_limit_usage=True)

    def price_and_limits():
        """The weight used is the exchange's last word through a gateway: only its presence counts."""
        reply = metered.ticker_price("BTCUSDT")
        return {"data": reply["data"], "has_weight": "x-mbx-used-weight-1m" in reply["limit_usage"]}

    return Calls(
        market={
            "exchange info": lambda: client.exchange_info("BTCUSDT"),
            "klines": lambda: client.klines("BTCUSDT", "1h", limit=100),
            "depth": lambda: client.depth("BTCUSDT", limit=10),
            "trades": lambda: client.trades("BTCUSDT", limit=10),
            "aggregate trades": lambda: client.agg_trades("BTCUSDT", limit=10),
            "average price": lambda: client.avg_price("BTCUSDT"),
            "day": lambda: client.ticker_24hr(symbols=["BTCUSDT", "ETHUSDT"]),
            "price": price_and_limits,
            "book": lambda: client.book_ticker(symbols=["BTCUSDT", "ETHUSDT"]),
            "window": lambda: client.rolling_window_ticker("BTCUSDT", windowSize="1h"),
        },
        signed={"account": lambda: client.account(recvWindow=60_000)},
        unknown=lambda: client.klines("NOSUCHCOIN", "1h"),
        raises=ClientError,
    )


run(connect)
