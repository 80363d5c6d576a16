"""binance-sdk-spot, which gives up after a second and tries three times more."""

import logging

from binance_common.configuration import ConfigurationRestAPI
from binance_common.errors import BadRequestError
from binance_sdk_spot.rest_api.models import KlinesIntervalEnum
from binance_sdk_spot.spot import Spot

from compare import KEY, SECRET, Calls, run


class Complaint(logging.Handler):
    """An answer that does not fit its models the client logs and takes all the same."""

    def emit(self, record):
        raise AssertionError(record.getMessage())


def connect(base):
    client = Spot(config_rest_api=ConfigurationRestAPI(api_key=KEY, api_secret=SECRET, base_path=base)).rest_api
    hour = KlinesIntervalEnum["INTERVAL_1h"].value
    return Calls(
        market={
            "exchange info": lambda: client.exchange_info(symbol="BTCUSDT").data(),
            "klines": lambda: client.klines(symbol="BTCUSDT", interval=hour, limit=100).data(),
            "depth": lambda: client.depth(symbol="BTCUSDT", limit=10).data(),
            "price": lambda: client.ticker_price(symbol="BTCUSDT").data(),
            "day": lambda: client.ticker24hr(symbol="BTCUSDT").data(),
        },
        signed={"account": lambda: client.get_account(recv_window=60_000).data()},
        unknown=lambda: client.klines(symbol="NOSUCHCOIN", interval=hour),
        raises=BadRequestError,
    )


logging.getLogger().addHandler(Complaint(logging.WARNING))
run(connect)
