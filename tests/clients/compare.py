"""Asks the same of the exchange and of the gateway before it, and compares what a client makes of the answers.

A client's script gives `run` a function that takes a base URL and returns its results by name. Modes:

  compare  ask both, and fail where they differ
  gateway  ask the gateway alone; whoever runs the script counts what reaches the exchange
"""

import json
import os
import sys

KEY = "sim-key-of-account-one-0001"
SECRET = "sim-secret-of-account-one-0001"


def plain(value):
    """A result as JSON text, however the client models it."""
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


def refusal(call):
    """The name of the error that a call raises, and its text."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever the client raises is the result
        return {"raises": type(error).__name__, "text": str(error)}
    return {"raises": None}


def run(ask):
    mode = sys.argv[1]
    through = plain(ask(os.environ["GATEWAY_URL"]))
    if mode == "compare":
        direct = plain(ask(os.environ["SIM_URL"]))
        differing = [name for name in direct if through.get(name) != direct[name]]
        for name in differing:
            print(f"{name}:\n  exchange {json.dumps(direct[name])[:600]}\n  gateway  {json.dumps(through.get(name))[:600]}")
        if differing or direct.keys() != through.keys():
            sys.exit(f"{len(differing)} of {len(direct)} results differ")
    empty = [name for name, result in through.items() if result in (None, [], {})]
    if empty:
        sys.exit(f"nothing came of {', '.join(empty)}")
    print(f"{len(through)} results")
