"""pymemcache: Client for one server, HashClient (rendezvous hashing) for two."""

import sys
import time

from harness import (BINARY, KEYS, LARGEST, MIB, NODE_KEYS, NOISE, RACE_ROUNDS, SLEEP_SECONDS, address, ask,
                     check, end, equal, eventually, race, refuses, run_race, settle)
from pymemcache.client.base import Client
from pymemcache.client.hash import HashClient
from pymemcache.exceptions import MemcacheClientError, MemcacheIllegalInputError, MemcacheServerError

# Long enough that no try of the dead node falls into the checks without it.
DEAD_SECONDS = 3


def connect(server):
    return Client(address(server), timeout=5, connect_timeout=5, default_noreply=False, no_delay=True)


def increment(client, key):
    value, token = client.gets(key)
    return client.cas(key, str(int(value) + 1), token) is True


def check_values(client):
    check("set stores", client.set("a", b"one"))
    equal("get returns what was set", client.get("a"), b"one")
    equal("get of a missing key is a miss", client.get("missing"), None)
    client.set("binary", BINARY)
    equal("a value may hold any byte", client.get("binary"), BINARY)
    client.set("empty", b"")
    equal("a value may be empty", client.get("empty"), b"")
    client.set("k" * 250, b"long")
    equal("a key may have 250 bytes", client.get("k" * 250), b"long")
    refuses("a key of 251 bytes is refused", MemcacheIllegalInputError, client.set, "k" * 251, b"x")
    check("add stores a new key", client.add("new", b"1"))
    check("add refuses a known key", not client.add("new", b"2"))
    check("replace stores a known key", client.replace("new", b"3"))
    check("replace refuses a new key", not client.replace("other", b"1"))
    check("append stores", client.append("new", b"4"))
    check("prepend stores", client.prepend("new", b"2"))
    equal("append and prepend add to both ends", client.get("new"), b"234")
    check("append refuses a new key", not client.append("other", b"1"))
    check("delete of a known key", client.delete("new"))
    check("delete of a missing key", not client.delete("new"))
    client.set("quiet", b"1", noreply=True)
    client.incr("quiet", 4, noreply=True)
    equal("noreply commands are done in order", client.get("quiet"), b"5")
    client.delete("quiet", noreply=True)
    equal("delete with noreply deletes", client.get("quiet"), None)


def check_many(client):
    values = {f"many:{number}": b"value %d" % number for number in range(KEYS)}
    equal(f"set_many stores {KEYS} keys", client.set_many(values), [])
    equal(f"get_many returns {KEYS} keys", client.get_many(list(values)), values)
    missing = [f"none:{number}" for number in range(KEYS)]
    equal("get_many leaves out what is missing", client.get_many(missing + list(values)), values)
    tokens = {token for _, token in client.gets_many(list(values)).values()}
    equal("gets_many returns a cas value of its own for each", len(tokens), KEYS)
    client.delete_many(list(values))
    equal("delete_many deletes them all", client.get_many(list(values)), {})


def check_sizes(client):
    check("the largest value is stored", client.set("large", NOISE[:LARGEST]))
    check("the largest value comes back", client.get("large") == NOISE[:LARGEST])
    refuses("1 MiB is refused", MemcacheServerError, client.set, "large", NOISE[:MIB])
    equal("a refused set leaves no old value", client.get("large"), None)
    refuses("2 MiB is refused", MemcacheServerError, client.set, "large", NOISE)
    check("the client works on after it", client.set("large", b"small") and client.get("large") == b"small")


def check_cas(client):
    client.set("cas", b"0")
    _, token = client.gets("cas")
    check("cas with the current value is stored", client.cas("cas", b"1", token))
    equal("cas with an old value is not", client.cas("cas", b"2", token), False)
    equal("cas of a missing key is a miss", client.cas("missing", b"2", token), None)
    client.set("race", b"0")
    lost = race("race")
    equal("two processes lose no increment", int(client.get("race")), 2 * RACE_ROUNDS)
    check("they did meet", lost > 0, "no round was lost")


def check_counters(client):
    client.set("counter", b"10")
    equal("incr adds", client.incr("counter", 5), 15)
    equal("decr subtracts", client.decr("counter", 6), 9)
    equal("decr stops at 0", client.decr("counter", 100), 0)
    equal("incr of a missing key is a miss", client.incr("missing", 1), None)
    client.set("counter", b"18446744073709551615")
    equal("incr wraps at 64 bits", client.incr("counter", 2), 1)
    client.set("counter", b"word")
    refuses("incr of a word is refused", MemcacheClientError, client.incr, "counter", 1)


def check_time(client):
    client.set("short", b"1", expire=2)
    client.set("absolute", b"1", expire=int(time.time()) + 2)
    client.set("touched", b"1", expire=2)
    client.set("shortened", b"1", expire=100)
    client.set("forever", b"1")
    equal("a value lives until it expires", client.get("short"), b"1")
    check("touch finds the key", client.touch("touched", 100))
    check("touch can shorten", client.touch("shortened", 2))
    check("touch of a missing key is a miss", not client.touch("missing", 100))
    client.set("past", b"1", expire=-1)
    equal("a negative time is over at once", client.get("past"), None)
    time.sleep(SLEEP_SECONDS)
    equal("a relative time ends", client.get("short"), None)
    equal("an absolute time ends", client.get("absolute"), None)
    equal("touch kept its key", client.get("touched"), b"1")
    equal("touch shortened its key", client.get("shortened"), None)
    equal("no time is for ever", client.get("forever"), b"1")


def check_admin(client):
    stats = client.stats()
    check("stats has what others read", stats[b"curr_items"] > 0 and b"get_hits" in stats)
    check("stats settings answers", b"maxbytes" in client.stats("settings"))
    check("version is a number", client.version()[:2] == b"1.", client.version())
    check("flush_all answers", client.flush_all())
    equal("flush_all empties", client.get("forever"), None)


def check_restart(client):
    client.set("kept", b"1")
    ask("restart 0")
    equal("after a restart the cache is empty", eventually(lambda: client.get("kept")), None)
    check("and the same client stores again", client.set("kept", b"2") and client.get("kept") == b"2")


def check_nodes(one, two):
    client = HashClient([address(one), address(two)], timeout=5, connect_timeout=5, default_noreply=False,
                        retry_attempts=0, dead_timeout=DEAD_SECONDS, ignore_exc=True)
    values = {f"node:{number}": b"%d" % number for number in range(NODE_KEYS)}
    equal("two nodes: every key is stored", client.set_many(values), [])
    equal("two nodes: every key is found", client.get_many(list(values)), values)
    on_one = set(connect(one).get_many(list(values)))
    on_two = set(connect(two).get_many(list(values)))
    check("two nodes: each holds its part", on_one and on_two and not on_one & on_two
          and len(on_one | on_two) == NODE_KEYS, f"{len(on_one)} and {len(on_two)}")
    ask("stop 2")
    found = {key for key in values if settle(lambda: client.get(key)) is not None}
    equal("a node dies: the other's keys stay", found, on_one)
    check("a node dies: the other takes its keys", all(client.set(key, value) for key, value in values.items()))
    equal("a node dies: every key is found again", client.get_many(list(values)), values)
    ask("start 2")
    time.sleep(DEAD_SECONDS + 0.2)
    check("the node is back: every key is stored", all(client.set(key, value) for key, value in values.items()))
    equal("the node is back: it has the keys it had", set(connect(two).get_many(list(values))), on_two)


def main():
    if sys.argv[1] == "race":
        _, _, server, key, count = sys.argv
        client = connect(server)
        run_race(int(count), lambda: increment(client, key))
        return
    client = connect(sys.argv[1])
    check_values(client)
    check_many(client)
    check_sizes(client)
    check_cas(client)
    check_counters(client)
    check_time(client)
    check_admin(client)
    check_restart(client)
    check_nodes(sys.argv[2], sys.argv[3])
    end()


main()
