"""python-binance: its depth cache of spot."""

import os

from binance import AsyncClient, BinanceSocketManager
from binance.ws.depthcache import DepthCacheManager

from books import run

AsyncClient.API_URL = f"{os.environ['GATEWAY_URL']}/api"
BinanceSocketManager.STREAM_URL = os.environ["SIM_URL"].replace("http://", "ws://") + "/"


async def keep(bot, goes_on):
    client = await AsyncClient.create()
    client.get_order_book = bot.counting(client.get_order_book)
    while goes_on():
        try:
            manager = DepthCacheManager(client, symbol="BTCUSDT", ws_interval=100)
            async with manager as cache:
                while goes_on():
                    book = await cache.recv()
                    bot.saw(manager._last_update_id, lambda: (book.get_bids(), book.get_asks()))
        except Exception as error:
            # What its users do: log and begin again.
            bot.failed(error)
    await client.close_connection()


run({"spot": ("/api/v3/depth", keep)})
