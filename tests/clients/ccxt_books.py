"""ccxt pro: order books of spot and USD-M futures."""

import asyncio
import os
import re

import ccxt.pro

from books import run

GATEWAY, STREAMS = os.environ["GATEWAY_URL"], os.environ["SIM_URL"].replace("http://", "ws://")


def keeper(kind, symbol):
    async def keep(bot, goes_on):
        exchange = kind({"newUpdates": True})
        api = exchange.urls["api"]
        for name, url in api.items():
            if isinstance(url, str):
                api[name] = re.sub(r"^https://[^/]+", GATEWAY, url)
        # The client takes a URL for one of spot by the host's name in it.
        api["ws"]["spot"], api["ws"]["linear"] = f"{STREAMS}/stream/ws", f"{STREAMS}/ws"
        # Only the book is tested: the symbols come once for all.
        exchange.options["fetchMarkets"] = {"types": ["spot" if kind is ccxt.pro.binance else "linear"]}
        exchange.fetch_order_book = bot.counting(exchange.fetch_order_book)
        while goes_on():
            try:
                book = await exchange.watch_order_book(symbol)
                bot.saw(book["nonce"], lambda: (book["bids"], book["asks"]))
            except ccxt.pro.BaseError as error:
                bot.failed(error)
                # A book that failed fails at once again, and would leave no time to any other bot.
                await asyncio.sleep(0.1)
        await exchange.close()

    return keep


run(
    {
        "spot": ("/api/v3/depth", keeper(ccxt.pro.binance, "BTC/USDT")),
        "usdm": ("/fapi/v1/depth", keeper(ccxt.pro.binanceusdm, "BTC/USDT:USDT")),
    }
)
