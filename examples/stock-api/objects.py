#!/usr/bin/env python3
"""Makes the stock objects: `stock-data/daily/{SYMBOL}.json` in a folder, or in a bucket of moto's or fake-gcs-server's.

    examples/stock-api/objects.py /tmp/stocks --size full
    examples/stock-api/objects.py http://127.0.0.1:5000/stocks --stocks 20 --days 60
    examples/stock-api/objects.py gs+http://127.0.0.1:4443/stocks --stocks 20 --days 60

Deterministic: a stock's last days are the same in every size. Python's standard library is enough for it.
"""

import argparse
import datetime
import http.client
import multiprocessing
import os
import urllib.parse

FOLDER = "stock-data/daily"
# What the URL of a bucket in Google Cloud Storage begins with; others speak S3.
GCS = "gs+http://"
LAST_DAY = datetime.date(2025, 12, 31)
# Stocks and trading days of each. Full is 6.3 million days in about 700 MB.
SIZES = {"small": (20, 60), "default": (200, 1260), "full": (5000, 1260)}
POPULAR = ["AAPL", "MSFT", "NVDA", "AMZN", "GOOGL", "META", "TSLA", "BRK.B", "JPM", "V"]
SPLIT_DAYS_AGO, SPLIT = 40, 4


def symbols(count):
    """This many symbols, the popular ones first, then four letters each."""
    found, number = POPULAR[:count], 0
    while len(found) < count:
        # Steps of a prime go round all 26⁴ before any comes again.
        place, letters, number = number * 104_729 % 26**4, "", number + 1
        for _ in range(4):
            place, letter = divmod(place, 26)
            letters += chr(65 + letter)
        if letters not in found[:len(POPULAR)]:
            found.append(letters)
    return found


def trading_days(count):
    """The last this many working days, newest first."""
    days, day = [], LAST_DAY
    while len(days) < count:
        if day.weekday() < 5:
            days.append(day.isoformat())
        day -= datetime.timedelta(days=1)
    return days


def stock(symbol, days, scale=1.0):
    """The object of a stock as text. It walks back from the last day, so that more days change none."""
    state = sum(ord(letter) * 31**place for place, letter in enumerate(symbol))
    close = (2_000 + state * 7_919 % 48_000) * scale
    was_split = state % 10 == 0
    rows = []
    for ago, day in enumerate(days):
        state = (state * 1_103_515_245 + 12_345) & 0x7FFFFFFF
        change = ((state >> 8) % 401 - 200) / 10_000
        opened = close / (1 + change)
        high, low = max(opened, close) * 1.006, min(opened, close) * 0.994
        adjusted = close / SPLIT if was_split and ago >= SPLIT_DAYS_AGO else close
        rows.append(
            f'{{"date":"{day}","open":{opened / 100:.2f},"high":{high / 100:.2f},"low":{low / 100:.2f},'
            f'"close":{close / 100:.2f},"adj_close":{adjusted / 100:.2f},"volume":{100_000 + (state >> 4) % 9_000_000}}}'
        )
        close = max(opened, 100.0)
    rows.reverse()
    return (
        f'{{"symbol":"{symbol}","last_updated":"{days[0]}T21:00:00Z","data_range":{{"start":"{days[-1]}",'
        f'"end":"{days[0]}"}},"data_points":[{",".join(rows)}],'
        f'"metadata":{{"name":"{symbol} Incorporated","currency":"USD","rows":{len(rows)}}}}}'
    )


def is_bucket(place):
    """Whether a place is the URL of a bucket, and no folder."""
    return place.startswith(("http://", GCS))


def put(place, symbol, text):
    """Writes an object below a folder, or to the URL of a bucket."""
    if is_bucket(place):
        url = urllib.parse.urlsplit(place)
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
        key = f"{FOLDER}/{symbol}.json"
        if place.startswith(GCS):
            name = urllib.parse.quote(key, safe="")
            target = f"/upload/storage/v1/b{url.path}/o?uploadType=media&name={name}"
            connection.request("POST", target, text, {"Content-Type": "application/json"})
        else:
            # moto wants somebody to sign, and looks at no signature.
            headers = {"Content-Type": "application/json", "Authorization": "AWS example:unchecked"}
            connection.request("PUT", f"{url.path}/{key}", text, headers)
        status = connection.getresponse().status
        connection.close()
        if status != 200:
            raise SystemExit(f"{place} refused {symbol}: {status}")
        return
    path = os.path.join(place, FOLDER, f"{symbol}.json")
    # In one step, as a bucket does it: a reader sees the old object or the new one.
    with open(f"{path}.new", "w", encoding="ascii") as file:
        file.write(text)
    os.replace(f"{path}.new", path)


def _put_some(job):
    place, some, days = job
    for symbol in some:
        put(place, symbol, stock(symbol, days))


def make(place, stocks, days):
    """Makes the objects; gives back the symbols."""
    if not is_bucket(place):
        os.makedirs(os.path.join(place, FOLDER), exist_ok=True)
    names, dates = symbols(stocks), trading_days(days)
    jobs = [(place, names[at:at + 50], dates) for at in range(0, len(names), 50)]
    if len(jobs) == 1:
        _put_some(jobs[0])
        return names
    with multiprocessing.get_context("fork").Pool() as pool:
        for _ in pool.imap_unordered(_put_some, jobs):
            pass
    return names


def main():
    arguments = argparse.ArgumentParser(description="Makes stock objects.")
    arguments.add_argument("place", help="a folder, http://HOST:PORT/BUCKET or gs+http://HOST:PORT/BUCKET")
    arguments.add_argument("--size", choices=SIZES, default="default")
    arguments.add_argument("--stocks", type=int, help="instead of the size's")
    arguments.add_argument("--days", type=int, help="instead of the size's")
    arguments.add_argument("--only", help="writes this one symbol again, at twice the price, as after a correction")
    given = arguments.parse_args()
    stocks, days = SIZES[given.size]
    stocks, days = given.stocks or stocks, given.days or days
    if given.only:
        put(given.place, given.only, stock(given.only, trading_days(days), scale=2.0))
    else:
        make(given.place, stocks, days)


if __name__ == "__main__":
    main()
