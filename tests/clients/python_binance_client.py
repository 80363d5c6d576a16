"""python-binance, spot and futures."""

from binance.client import Client
from binance.exceptions import BinanceAPIException

from compare import KEY, SECRET, Calls, run


def connect(base):
    Client.API_URL = f"{base}/api"
    Client.MARGIN_API_URL = f"{base}/sapi"
    Client.FUTURES_URL = f"{base}/fapi"
    Client.FUTURES_DATA_URL = f"{base}/futures/data"
    Client.FUTURES_COIN_URL = f"{base}/dapi"
    # The constructor pings.
    client = Client(KEY, SECRET)
    # The client puts its own in the place of what a call says.
    client.REQUEST_RECVWINDOW = 60_000
    return Calls(
        market={
            "exchange info": client.get_exchange_info,
            "symbol info": lambda: client.get_symbol_info("BTCUSDT"),
            "klines": lambda: client.get_klines(symbol="BTCUSDT", interval="1h", limit=100),
            "prices": client.get_all_tickers,
            "price": lambda: client.get_symbol_ticker(symbol="BTCUSDT"),
            "ticker": lambda: client.get_ticker(symbol="BTCUSDT"),
            "book tickers": client.get_orderbook_tickers,
            "order book": lambda: client.get_order_book(symbol="BTCUSDT", limit=10),
            "average price": lambda: client.get_avg_price(symbol="BTCUSDT"),
            "futures klines": lambda: client.futures_klines(symbol="BTCUSDT", interval="1h", limit=100),
            "futures order book": lambda: client.futures_order_book(symbol="BTCUSDT", limit=20),
            "futures mark price": lambda: client.futures_mark_price(symbol="BTCUSDT"),
            "futures funding": lambda: client.futures_funding_rate(symbol="BTCUSDT", limit=10),
            "open interest": lambda: client.futures_open_interest_hist(symbol="BTCUSDT", period="1h", limit=5),
        },
        signed={
            "account": client.get_account,
            "futures account": client.futures_account,
        },
        unknown=lambda: client.get_klines(symbol="NOSUCHCOIN", interval="1h"),
        raises=BinanceAPIException,
    )


run(connect)
