"""requests and aiohttp, where a package that unpacks zstd is installed: then they ask for it by themselves."""

import asyncio
import json
import os

import aiohttp
import requests

GATEWAY = os.environ["GATEWAY_URL"]
TARGETS = [
    "/api/v3/exchangeInfo",
    "/api/v3/exchangeInfo?symbol=BTCUSDT",
    "/api/v3/ticker/24hr",
    "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=1000",
    "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=701",
]


async def by_aiohttp(target):
    async with aiohttp.ClientSession() as session, session.get(GATEWAY + target) as answer:
        body = await answer.read()
        return answer.request_info.headers, answer.headers, body


def by_requests(target):
    answer = requests.get(GATEWAY + target, timeout=30)
    return answer.request.headers, answer.headers, answer.content


def main():
    taken = 0
    for target in TARGETS:
        plain = requests.get(GATEWAY + target, headers={"Accept-Encoding": "identity"}, timeout=30)
        assert plain.status_code == 200 and "Content-Encoding" not in plain.headers, (target, plain.headers)
        # Twice: the second answer is one that memory has packed already.
        for name, asked, headers, body in [
            answer
            for _ in range(2)
            for answer in (("requests", *by_requests(target)), ("aiohttp", *asyncio.run(by_aiohttp(target))))
        ]:
            assert "zstd" in asked["Accept-Encoding"], (name, asked["Accept-Encoding"])
            assert headers["Content-Encoding"] == "zstd", (name, target, headers)
            assert body == plain.content, (name, target)
            taken += 1
    print(json.dumps({"calls": taken, "gateway_ms": {}}))


main()
