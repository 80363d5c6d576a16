"""python-binance, spot and futures."""

from binance.client import Client

from compare import KEY, SECRET, refusal, run


def ask(base):
    Client.API_URL = f"{base}/api"
    Client.MARGIN_API_URL = f"{base}/sapi"
    Client.FUTURES_URL = f"{base}/fapi"
    Client.FUTURES_DATA_URL = f"{base}/futures/data"
    Client.FUTURES_COIN_URL = f"{base}/dapi"
    # The constructor pings.
    client = Client(KEY, SECRET)
    unknown = refusal(lambda: client.get_klines(symbol="NOSUCHCOIN", interval="1h"))
    assert unknown["raises"] == "BinanceAPIException" and "-1121" in unknown["text"], unknown
    client.REQUEST_RECVWINDOW = 60_000
    account = client.get_account()
    return {
        "exchange info": client.get_exchange_info(),
        "symbol info": client.get_symbol_info("BTCUSDT"),
        "klines": client.get_klines(symbol="BTCUSDT", interval="1h", limit=100),
        "prices": client.get_all_tickers(),
        "price": client.get_symbol_ticker(symbol="BTCUSDT"),
        "ticker": client.get_ticker(symbol="BTCUSDT"),
        "book tickers": client.get_orderbook_tickers(),
        "order book": client.get_order_book(symbol="BTCUSDT", limit=10),
        "average price": client.get_avg_price(symbol="BTCUSDT"),
        "futures klines": client.futures_klines(symbol="BTCUSDT", interval="1h", limit=100),
        "futures order book": client.futures_order_book(symbol="BTCUSDT", limit=20),
        "futures mark price": client.futures_mark_price(symbol="BTCUSDT"),
        "futures funding": client.futures_funding_rate(symbol="BTCUSDT", limit=10),
        "open interest": client.futures_open_interest_hist(symbol="BTCUSDT", period="1h", limit=5),
        "account": {name: account[name] for name in ("uid", "balances")},
        "unknown symbol": unknown,
    }


run(ask)
