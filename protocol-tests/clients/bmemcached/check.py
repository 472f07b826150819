"""python-binary-memcached: the binary protocol in pure Python, uhashring for two nodes."""

import sys
import time

import bmemcached
from bmemcached.exceptions import MemcachedException
from harness import (BINARY, KEYS, LARGEST, MIB, NODE_KEYS, NOISE, RACE_ROUNDS, SLEEP_SECONDS, ask, check, end,
                     equal, race, refuses, run_race, until)


def connect(*servers):
    return bmemcached.DistributedClient(servers, socket_timeout=5)


def increment(client, key):
    value, token = client.gets(key)
    return client.cas(key, value + 1, token)


def check_values(client):
    check("set stores", client.set("a", b"one"))
    equal("get returns what was set", client.get("a"), b"one")
    equal("flags bring a text back as a text", (client.set("text", "é"), client.get("text"))[1], "é")
    equal("flags bring a dictionary back", (client.set("dict", {"a": 1}), client.get("dict"))[1], {"a": 1})
    equal("get of a missing key is a miss", client.get("missing"), None)
    client.set("binary", BINARY)
    equal("a value may hold any byte", client.get("binary"), BINARY)
    client.set("empty", b"")
    equal("a value may be empty", client.get("empty"), b"")
    client.set("k" * 250, b"long")
    equal("a key may have 250 bytes", client.get("k" * 250), b"long")
    client.set("a key\r\nwith\0any byte", b"x")
    equal("a key may hold any byte", client.get("a key\r\nwith\0any byte"), b"x")
    check("add stores a new key", client.add("new", b"1"))
    check("add refuses a known key", not client.add("new", b"2"))
    check("replace stores a known key", client.replace("new", b"3"))
    check("replace refuses a new key", not client.replace("other", b"1"))
    check("delete with an old cas value is refused", not client.delete("new", cas=1))
    check("delete with the current cas value", client.delete("new", cas=client.gets("new")[1]))
    equal("delete deletes", client.get("new"), None)


def check_many(client):
    values = {f"many:{number}": b"value %d" % number for number in range(KEYS)}
    equal(f"set_multi stores {KEYS} keys", client.set_multi(values), [])
    equal(f"get_multi returns {KEYS} keys", client.get_multi(list(values)), values)
    missing = [f"none:{number}" for number in range(KEYS)]
    equal("get_multi leaves out what is missing", client.get_multi(missing + list(values)), values)
    tokens = {token for _, token in client.get_multi(list(values), get_cas=True).values()}
    equal("get_multi returns a cas value of its own for each", len(tokens), KEYS)
    check("delete_multi answers", client.delete_multi(list(values)))
    equal("delete_multi deletes them all", client.get_multi(list(values)), {})


def check_sizes(client):
    check("the largest value is stored", client.set("large", NOISE[:LARGEST]))
    check("the largest value comes back", client.get("large") == NOISE[:LARGEST])
    refuses("1 MiB is refused", MemcachedException, client.set, "large", NOISE[:MIB])
    equal("a refused set leaves no old value", client.get("large"), None)
    refuses("2 MiB is refused", MemcachedException, client.set, "large", NOISE)
    check("the client works on after it", client.set("large", b"small") and client.get("large") == b"small")


def check_cas(client):
    client.set("cas", b"0")
    _, token = client.gets("cas")
    check("cas with the current value is stored", client.cas("cas", b"1", token))
    check("cas with an old value is not", not client.cas("cas", b"2", token))
    check("cas of a missing key is a miss", not client.cas("missing", b"2", token))
    is_stored, token = client.set("cas", b"3", get_cas=True)
    equal("set returns the cas value that gets returns", (is_stored, token), (True, client.gets("cas")[1]))
    client.set("race", 0)
    lost = race("race")
    equal("two processes lose no increment", client.get("race"), 2 * RACE_ROUNDS)
    check("they did meet", lost > 0, "no round was lost")


def check_counters(client):
    equal("incr of a missing key stores the default", client.incr("counter", 5, default=10), 10)
    equal("incr adds", client.incr("counter", 5), 15)
    equal("decr subtracts", client.decr("counter", 6), 9)
    equal("decr stops at 0", client.decr("counter", 100), 0)
    equal("incr takes a default of 64 bits", client.incr("wrap", 1, default=2**64 - 1), 2**64 - 1)
    equal("incr wraps at 64 bits", client.incr("wrap", 2), 1)
    client.set("counter", b"word")
    refuses("incr of a word is refused", MemcachedException, client.incr, "counter", 1)


def check_time(client):
    client.set("short", b"1", time=2)
    client.set("absolute", b"1", time=int(time.time()) + 2)
    client.incr("counted", 1, default=5, time=2)
    client.set("forever", b"1")
    equal("a value lives until it expires", client.get("short"), b"1")
    time.sleep(SLEEP_SECONDS)
    equal("a relative time ends", client.get("short"), None)
    equal("an absolute time ends", client.get("absolute"), None)
    equal("a counter made by incr ends", client.get("counted"), None)
    equal("no time is for ever", client.get("forever"), b"1")


def check_admin(client):
    (stats,) = client.stats().values()
    check("stats has what others read", int(stats["curr_items"]) > 0 and "get_hits" in stats, stats)
    (settings,) = client.stats("settings").values()
    check("stats settings answers", "maxbytes" in settings, settings)
    check("flush_all answers", client.flush_all())
    equal("flush_all empties", client.get("forever"), None)


def check_restart(client):
    client.set("kept", b"1")
    ask("restart 0")
    check("after a restart the same client stores again", until(lambda: client.set("again", b"2")))
    equal("and reads it", client.get("again"), b"2")
    equal("and the cache was empty", client.get("kept"), None)


def check_nodes(one, two):
    client = connect(one, two)
    values = {f"node:{number}": b"%d" % number for number in range(NODE_KEYS)}
    equal("two nodes: every key is stored", client.set_multi(values), [])
    equal("two nodes: every key is found", client.get_multi(list(values)), values)
    on_one = set(connect(one).get_multi(list(values)))
    on_two = set(connect(two).get_multi(list(values)))
    check("two nodes: each holds its part", on_one and on_two and not on_one & on_two
          and len(on_one | on_two) == NODE_KEYS, f"{len(on_one)} and {len(on_two)}")
    ask("stop 2")
    found = {key for key in values if client.get(key) is not None}
    equal("a node dies: the other's keys stay", found, on_one)
    stored = {key for key, value in values.items() if client.set(key, value)}
    equal("a node dies: its keys are not stored", stored, on_one)
    ask("start 2")
    # The client waits 5 s before it tries a dead node again.
    until(lambda: client.set(min(on_two), b"x"))
    equal("the node is back: every key is stored", client.set_multi(values), [])
    equal("the node is back: it has the keys it had", set(connect(two).get_multi(list(values))), on_two)


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
