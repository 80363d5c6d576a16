"""Bots that keep order books, and a comparison of their books with the exchange's own.

A client's script gives `run` its venues: for each the path of the exchange's depth and a coroutine that keeps one bot's
book. Requests of the bots go to the gateway, their streams to the exchange; the comparison asks the exchange. The plan in
the environment says when each bot starts and for how long all run.

The first line on stdout says that the clock runs, the last is one of JSON: what came of each bot.
"""

import asyncio
import json
import os
import time

import aiohttp

# How many of the best levels are compared: further down a book that began with a snapshot of 500 has holes in time.
COMPARED = 100
# How often the exchange is asked for its own book, and how often a bot's is looked at, in seconds.
EVERY = 0.1
LOOK_EVERY = 0.25


class Bot:
    """What a bot saw: the top of its book after each update, and the errors it got."""

    def __init__(self, name, started):
        self.name, self.started, self.joined = name, started, started
        self.books, self.errors, self.snapshots = {}, [], 0
        self.updates, self.looked = 0, 0.0

    def counting(self, fetch):
        """The client's own way to a snapshot, counted."""

        async def counted(*args, **kwargs):
            self.snapshots += 1
            answer = await fetch(*args, **kwargs)
            self.joined = round(now(), 2)
            return answer

        return counted

    def saw(self, update, sides):
        """`sides` gives bids and asks, which takes time: not at every update."""
        self.updates += 1
        if now() - self.looked >= LOOK_EVERY:
            self.looked = now()
            bids, asks = sides()
            self.books[update] = (now(), top(bids), top(asks))

    def failed(self, error):
        self.errors.append([round(now(), 2), f"{type(error).__name__}: {error}"[:200]])

    def compared(self, true_books):
        """When the book was the exchange's, and where it was not, by time."""
        matched, mismatched = [], []
        for update, (bids, asks) in true_books.items():
            if update in self.books:
                at, *book = self.books[update]
                (matched if book == [bids, asks] else mismatched).append(round(at, 2))
        return {
            "name": self.name,
            "started": self.started,
            "joined": self.joined,
            "updates": self.updates,
            "snapshots": self.snapshots,
            "errors": self.errors,
            "matched": sorted(matched),
            "mismatched": sorted(mismatched),
        }


def top(levels):
    return [[float(price), float(quantity)] for price, quantity, *_ in levels[:COMPARED]]


began = 0.0


def now():
    return time.monotonic() - began


async def true_books(exchange, path, seconds):
    """The exchange's own books by update, while the bots run."""
    books = {}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        while now() < seconds:
            # Events end with a tenth of a second: just after it the book is the one that bots got.
            await asyncio.sleep(EVERY - time.time() % 0.1 + 0.01)
            try:
                async with session.get(f"{exchange}{path}?symbol=BTCUSDT&limit={COMPARED}") as answer:
                    answer.raise_for_status()
                    book = await answer.json()
                    books[book["lastUpdateId"]] = (top(book["bids"]), top(book["asks"]))
            except (aiohttp.ClientError, asyncio.TimeoutError):
                # The exchange is ill on purpose.
                pass
    return books


async def started(bot, keep, seconds):
    await asyncio.sleep(bot.started)
    task = asyncio.create_task(keep(bot, lambda: now() < seconds))
    # A bot whose market fell silent is cut off.
    done, _ = await asyncio.wait([task], timeout=seconds - now() + 1)
    if not done:
        task.cancel()
    elif task.exception():
        bot.failed(task.exception())


async def all_venues(venues):
    global began
    plan = json.loads(os.environ["PLAN"])
    seconds = plan["seconds"]
    began = time.monotonic()
    print("go", flush=True)
    waits, bots = [], {}
    for venue, (path, keep) in venues.items():
        # Of another venue than the first, half as many.
        starts = plan["starts"][:: 2 if bots else 1]
        bots[venue] = [Bot(f"{venue} {number}", start) for number, start in enumerate(starts)]
        waits.append(true_books(os.environ["SIM_URL"], path, seconds))
        waits.extend(started(bot, keep, seconds) for bot in bots[venue])
    results = await asyncio.gather(*waits)
    books = iter(result for result in results if result is not None)
    results = [bot.compared(true) for venue, true in zip(venues, books) for bot in bots[venue]]
    print(json.dumps(results), flush=True)
    # Clients leave tasks and threads behind.
    os._exit(0)


def run(venues):
    asyncio.run(all_venues(venues))
