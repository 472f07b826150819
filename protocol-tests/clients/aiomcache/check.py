"""aiomcache: the text protocol under asyncio. It knows one server only."""

import asyncio
import sys
import time

import aiomcache
from aiomcache.exceptions import ClientException
from harness import (BINARY, KEYS, LARGEST, MIB, NOISE, RACE_ROUNDS, SLEEP_SECONDS, address, ask, check, end, equal,
                     race)


def connect(server, pool_size=2):
    host, port = address(server)
    return aiomcache.Client(host, int(port), pool_size=pool_size)


async def increment(client, key):
    value, token = await client.gets(key)
    return await client.cas(key, b"%d" % (int(value) + 1), token)


async def refuses(text, kind, call):
    try:
        got = await call
    except kind:
        check(text, True)
    except Exception as error:
        check(text, False, f"raised {error!r}")
    else:
        check(text, False, f"returned {got!r}")


async def check_values(client):
    check("set stores", await client.set(b"a", b"one"))
    equal("get returns what was set", await client.get(b"a"), b"one")
    equal("get of a missing key is a miss", await client.get(b"missing"), None)
    await client.set(b"binary", BINARY)
    equal("a value may hold any byte", await client.get(b"binary"), BINARY)
    await client.set(b"empty", b"")
    equal("a value may be empty", await client.get(b"empty"), b"")
    await client.set(b"k" * 250, b"long")
    equal("a key may have 250 bytes", await client.get(b"k" * 250), b"long")
    await refuses("a key of 251 bytes is refused", aiomcache.exceptions.ValidationException,
                  client.set(b"k" * 251, b"x"))
    check("add stores a new key", await client.add(b"new", b"1"))
    check("add refuses a known key", not await client.add(b"new", b"2"))
    check("replace stores a known key", await client.replace(b"new", b"3"))
    check("replace refuses a new key", not await client.replace(b"other", b"1"))
    check("append stores", await client.append(b"new", b"4"))
    check("prepend stores", await client.prepend(b"new", b"2"))
    equal("append and prepend add to both ends", await client.get(b"new"), b"234")
    check("append refuses a new key", not await client.append(b"other", b"1"))
    check("delete of a known key", await client.delete(b"new"))
    check("delete of a missing key", not await client.delete(b"new"))


async def check_many(client):
    values = {b"many:%d" % number: b"value %d" % number for number in range(KEYS)}
    pool = connect(sys.argv[1], pool_size=20)
    stored = await asyncio.gather(*(pool.set(key, value) for key, value in values.items()))
    check(f"{KEYS} sets over 20 connections are stored", all(stored))
    got = await asyncio.gather(*(pool.get(key) for key in values))
    equal(f"{KEYS} gets over 20 connections find them", got, list(values.values()))
    await pool.close()
    equal(f"multi_get returns {KEYS} keys", await client.multi_get(*values), tuple(values.values()))
    missing = [b"none:%d" % number for number in range(KEYS)]
    equal("multi_get says what is missing", await client.multi_get(*missing, *values),
          (None,) * KEYS + tuple(values.values()))


async def check_sizes(client):
    check("the largest value is stored", await client.set(b"large", NOISE[:LARGEST]))
    check("the largest value comes back", await client.get(b"large") == NOISE[:LARGEST])
    await refuses("1 MiB is refused", ClientException, client.set(b"large", NOISE[:MIB]))
    equal("a refused set leaves no old value", await client.get(b"large"), None)
    await refuses("2 MiB is refused", ClientException, client.set(b"large", NOISE))
    check("the client works on after it",
          await client.set(b"large", b"small") and await client.get(b"large") == b"small")


async def check_cas(client):
    await client.set(b"cas", b"0")
    _, token = await client.gets(b"cas")
    check("cas with the current value is stored", await client.cas(b"cas", b"1", token))
    check("cas with an old value is not", not await client.cas(b"cas", b"2", token))
    equal("gets of a missing key is a miss", await client.gets(b"missing"), (None, None))
    await client.set(b"race", b"0")
    lost = race("race")
    equal("two processes lose no increment", int(await client.get(b"race")), 2 * RACE_ROUNDS)
    check("they did meet", lost > 0, "no round was lost")


async def check_counters(client):
    await client.set(b"counter", b"10")
    equal("incr adds", await client.incr(b"counter", 5), 15)
    equal("decr subtracts", await client.decr(b"counter", 6), 9)
    equal("decr stops at 0", await client.decr(b"counter", 100), 0)
    await refuses("incr of a missing key is a miss", ClientException, client.incr(b"missing"))
    await client.set(b"counter", b"18446744073709551615")
    equal("incr wraps at 64 bits", await client.incr(b"counter", 2), 1)
    await client.set(b"counter", b"word")
    await refuses("incr of a word is refused", ClientException, client.incr(b"counter"))


async def check_time(client):
    await client.set(b"short", b"1", exptime=2)
    await client.set(b"absolute", b"1", exptime=int(time.time()) + 2)
    await client.set(b"touched", b"1", exptime=2)
    await client.set(b"shortened", b"1", exptime=100)
    await client.set(b"forever", b"1")
    equal("a value lives until it expires", await client.get(b"short"), b"1")
    check("touch finds the key", await client.touch(b"touched", 100))
    check("touch can shorten", await client.touch(b"shortened", 2))
    check("touch of a missing key is a miss", not await client.touch(b"missing", 100))
    await asyncio.sleep(SLEEP_SECONDS)
    equal("a relative time ends", await client.get(b"short"), None)
    equal("an absolute time ends", await client.get(b"absolute"), None)
    equal("touch kept its key", await client.get(b"touched"), b"1")
    equal("touch shortened its key", await client.get(b"shortened"), None)
    equal("no time is for ever", await client.get(b"forever"), b"1")


async def check_admin(client):
    stats = await client.stats()
    check("stats has what others read", int(stats[b"curr_items"]) > 0 and b"get_hits" in stats, stats)
    check("stats settings answers", b"maxbytes" in await client.stats(b"settings"))
    version = await client.version()
    check("version is a number", version.startswith(b"1."), version)
    await client.flush_all()
    equal("flush_all empties", await client.get(b"forever"), None)


async def check_restart(client):
    await client.set(b"kept", b"1")
    ask("restart 0")
    for _ in range(50):
        try:
            value = await client.get(b"kept")
            break
        except (ClientException, OSError):
            await asyncio.sleep(0.1)
    equal("after a restart the cache is empty", value, None)
    check("and the same client stores again", await client.set(b"kept", b"2") and await client.get(b"kept") == b"2")


async def run_race(server, key, count):
    client = connect(server)
    print("ready", flush=True)
    sys.stdin.readline()
    lost = 0
    for _ in range(count):
        while not await increment(client, key):
            lost += 1
    print(f"lost {lost}", flush=True)
    await client.close()


async def main():
    if sys.argv[1] == "race":
        _, _, server, key, count = sys.argv
        await run_race(server, key.encode(), int(count))
        return
    client = connect(sys.argv[1])
    await check_values(client)
    await check_many(client)
    await check_sizes(client)
    await check_cas(client)
    await check_counters(client)
    await check_time(client)
    await check_admin(client)
    await check_restart(client)
    await client.close()
    end()


asyncio.run(main())
