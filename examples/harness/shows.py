"""What every example shows: Redis gone and back, a flush, an eviction. Each keeps promises whatever state Redis is in."""

import secrets

from harness.measure import fresh_for
from harness.parts import ask, ask_json, until

FILLER_BYTES = 100_000
MOST_FILLERS = 400


def outcome(gateway, path, headers=None):
    """(status, X-Cache, the reason where an answer is old) of a read."""
    status, answered, _ = ask(f"{gateway.url}{path}", headers=headers)
    detail = next((part for part in (answered.get("Cache-Status") or "").split("; ") if part.startswith("detail=")), "")
    return status, answered.get("X-Cache") or "-", detail.removeprefix("detail=").strip('"')


def in_words(read):
    """An outcome in words."""
    status, how, why = read
    return f"{how}{f' ({why})' if why else ''}" if status == 200 else f"{status} {how}"


def lifetime(gateway, path):
    """The seconds for which a read is fresh."""
    _, headers, _ = ask(f"{gateway.url}{path}")
    return fresh_for(headers.get("Cache-Status"))


def breaker(gateway):
    """How the gateway judges its store: closed, open, half-open or none."""
    return ask_json(f"{gateway.url}/health")["breaker"]


def redis_gone_and_back(promises, gateway, redis, paths, headers=None):
    """Redis is stopped: everything is answered. It comes back, empty: it is used again without a restart."""
    if not redis.url:
        print("\nno Redis is configured: everything is in memory, and in a file of the gateway's own")
        _all_answered(promises, gateway, paths, "without Redis every page is answered")
        return
    if redis.is_there:
        redis.stop()
        print("\nRedis is stopped")
    else:
        print(f"\nRedis {'is frozen' if redis.is_frozen else 'is not there'}")
    _all_answered(promises, gateway, paths, "with Redis gone every page is answered")
    redis.come_back()
    print("Redis is back")
    seen = within(lambda: breaker(gateway) == "closed")
    promises.hold("the gateway finds Redis again by itself", seen, f"its breaker is {breaker(gateway)}")
    keys_before = int(redis.command("DBSIZE") or 0)
    status, _, body = ask(f"{gateway.url}/v1/kv/kv/after-the-outage", "PUT", "42", headers)
    promises.hold("a value written now is taken", status in (200, 201, 202, 204), f"{status} {body[:200]}")
    seen = within(lambda: redis.command("--scan", "--pattern", "*after-the-outage"))
    promises.hold("and Redis has it", seen, f"Redis holds {keys_before} keys, none of them the new one")
    _all_answered(promises, gateway, paths, "with Redis back every page is answered")


def flush(promises, gateway, path, headers=None):
    """Everything cached is cleared, on purpose only; the next reader is answered by the source, those after by the cache."""
    print("\nflush")
    ask(f"{gateway.url}{path}")
    status, _, _ = ask(f"{gateway.url}/api/cache/flush", "POST", {}, headers)
    promises.hold("a flush without a confirmation is refused", status in (400, 422), f"it answered {status}")
    held = outcome(gateway, path)
    promises.hold("and nothing is lost by it", held[1] in ("HIT", "STALE"), in_words(held))
    status, _, body = ask(f"{gateway.url}/api/cache/flush", "POST", {"confirm": True}, headers)
    promises.hold("a confirmed flush is done", status in (200, 202), f"{status} {body[:200]}")
    first, then = outcome(gateway, path), outcome(gateway, path)
    print(f"  {path}: {in_words(first)}, then {in_words(then)}")
    promises.hold("the reader after it is answered by the source", first[:2] in ((200, "MISS"), (200, "JOINED")), in_words(first))
    promises.hold("the next by the cache", then[:2] == (200, "HIT"), in_words(then))


def eviction(promises, gateway, redis, paths, headers=None):
    """Redis is given too little memory and evicts: pages are answered all the same."""
    if not redis.is_there:
        redis.come_back()
    if not redis.url:
        print("\nno Redis to run out of memory: the gateway's own memory has its limit (memory.limit)")
        _all_answered(promises, gateway, paths, "every page is answered")
        return
    until("the gateway uses Redis", lambda: breaker(gateway) == "closed")
    room = int(redis.info("used_memory")) + 2_000_000
    redis.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    redis.command("CONFIG", "SET", "maxmemory", str(room))
    put = 0
    while put < MOST_FILLERS and int(redis.info("evicted_keys")) == 0:
        ask(f"{gateway.url}/v1/kv/kv/filler-{put}", "PUT", secrets.token_urlsafe(FILLER_BYTES * 3 // 4), headers)
        put += 1
    evicted = within(lambda: int(redis.info("evicted_keys")) > 0)
    print(f"\nRedis has {room // 1_000_000} MB and {redis.info('used_memory_human')} in use: it evicted "
          f"{redis.info('evicted_keys')} keys after {put} values of {FILLER_BYTES // 1_000} kB")
    promises.hold("Redis evicts when it is full", evicted, "no key was evicted")
    _all_answered(promises, gateway, paths, "and every page is answered")
    redis.command("CONFIG", "SET", "maxmemory", "0")


def _all_answered(promises, gateway, paths, words):
    reads = [(path, outcome(gateway, path)) for path in paths]
    for path, read in reads:
        print(f"  {path}: {in_words(read)}")
    bad = [f"{path} answered {read[0]}" for path, read in reads if read[0] != 200]
    promises.hold(words, not bad, "; ".join(bad))


def within(holds, seconds=20):
    """What `holds()` comes to in time; False where it does not."""
    try:
        return until("it holds", holds, seconds)
    except Exception:  # noqa: BLE001 - the promise says what was wanted
        return False
