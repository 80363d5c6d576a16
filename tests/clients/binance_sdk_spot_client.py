"""binance-sdk-spot, which gives up after a second and tries three times."""

import sys

from binance_common.configuration import ConfigurationRestAPI
from binance_sdk_spot.rest_api.models import KlinesIntervalEnum
from binance_sdk_spot.spot import Spot

from compare import KEY, SECRET, refusal, run


def ask(base):
    client = Spot(config_rest_api=ConfigurationRestAPI(api_key=KEY, api_secret=SECRET, base_path=base)).rest_api
    hour = KlinesIntervalEnum["INTERVAL_1h"].value
    results = {
        "exchange info": client.exchange_info(symbol="BTCUSDT").data(),
        "klines": client.klines(symbol="BTCUSDT", interval=hour, limit=100).data(),
        "depth": client.depth(symbol="BTCUSDT", limit=10).data(),
        "price": client.ticker_price(symbol="BTCUSDT").data(),
        "day": client.ticker24hr(symbol="BTCUSDT").data(),
    }
    # What nobody asked for before cannot be answered while the exchange hangs.
    if sys.argv[1] != "known":
        unknown = refusal(lambda: client.klines(symbol="NOSUCHCOIN", interval=hour))
        assert unknown["raises"] == "BadRequestError", unknown
        results["unknown symbol"] = unknown
    return results


run(ask)
