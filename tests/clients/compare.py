"""Asks the same of the exchange and of the gateway before it, and compares what a client makes of the answers.

A client's script gives `run` a function that connects to a base URL and returns its `Calls`. Modes:

  compare    asks both everything, and fails where they differ
  gateway    asks the gateway everything; the caller of the script counts what reaches the exchange
  last-good  asks the gateway for market data alone, all that can be had while the exchange is away

One line of JSON says what was asked and how long each answer took.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

KEY = "sim-key-of-account-one-0001"
SECRET = "sim-secret-of-account-one-0001"

INVALID_SYMBOL = "-1121"


@dataclass
class Calls:
    """What a script asks, by name."""

    market: dict[str, Callable[[], Any]]
    signed: dict[str, Callable[[], Any]]
    # A question about an unknown symbol, and the error of the client's that must come of it.
    unknown: Callable[[], Any]
    raises: type[Exception]


def plain(value):
    """A result as JSON has it, however the client models it."""
    for name in ("to_dict", "model_dump"):
        if hasattr(value, name):
            return plain(getattr(value, name)())
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return repr(value)


def refusal(calls):
    """The error that an unknown symbol raises, which the client must have kept apart from other errors."""
    try:
        answer = calls.unknown()
    except calls.raises as error:
        if INVALID_SYMBOL not in str(error):
            sys.exit(f"an unknown symbol raises {error!r} without {INVALID_SYMBOL}")
        # Some clients put the answer's headers into the text, which may differ.
        return type(error).__name__
    sys.exit(f"an unknown symbol raises nothing but gives {answer!r}")


def ask(calls, mode):
    """The results and the milliseconds of each."""
    asked = dict(calls.market)
    if mode != "last-good":
        asked |= calls.signed
        asked["unknown symbol"] = lambda: refusal(calls)
    results, took = {}, {}
    for name, call in asked.items():
        began = perf_counter()
        answer = call()
        took[name] = round((perf_counter() - began) * 1000)
        results[name] = plain(answer)
    return results, took


def differences(one, other, path):
    """Where two results differ: path, one, other."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for key in one:
            yield from differences(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other)):
            yield from differences(left, right, f"{path}[{index}]")
    elif type(one) is not type(other) or one != other:
        yield path, one, other


def run(connect):
    mode = sys.argv[1]
    through, gateway_ms = ask(connect(os.environ["GATEWAY_URL"]), mode)
    result = {"client": os.path.basename(sys.argv[0]), "mode": mode, "calls": len(through), "gateway_ms": gateway_ms}
    empty = [name for name, result in through.items() if result in (None, "", [], {})]
    if empty:
        sys.exit(f"nothing came of {', '.join(empty)}")
    if mode == "compare":
        direct, result["exchange_ms"] = ask(connect(os.environ["SIM_URL"]), mode)
        differing = list(differences(direct, through, "results"))
        for path, exchange, gateway in differing[:20]:
            print(f"{path}\n  exchange {str(exchange)[:300]}\n  gateway  {str(gateway)[:300]}", file=sys.stderr)
        if differing:
            sys.exit(f"{len(differing)} values differ")
    print(json.dumps(result))
