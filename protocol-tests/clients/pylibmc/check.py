"""pylibmc: libmemcached 1.0 under Python, over text or (`binary`) binary."""

import sys
import time

import pylibmc
from harness import (BINARY, KEYS, LARGEST, MIB, NODE_KEYS, NOISE, RACE_ROUNDS, SLEEP_SECONDS, ask, check, end,
                     equal, eventually, race, refuses, run_race, settle, until)

IS_BINARY = sys.argv[1] == "binary"
WORDS = sys.argv[2:] if IS_BINARY else sys.argv[1:]

# Long enough that no try of the dead node falls into the checks without it; the
# library counts whole seconds.
DEAD_SECONDS = 3


def connect(*servers, **behaviors):
    # _poll_timeout: over binary this libmemcached waits in vain for more after the
    # answer to a touch that hit, by default for 5 seconds.
    return pylibmc.Client(list(servers), binary=IS_BINARY, behaviors={
        "tcp_nodelay": True, "cas": True, "ketama": True, "retry_timeout": 1, "_poll_timeout": 1000, **behaviors})


def increment(client, key):
    value, token = client.gets(key)
    return client.cas(key, value + 1, token)


def declines(text, call, *arguments):
    """Binary answers come as an exception where text ones come as False."""
    try:
        check(text, call(*arguments) is False)
    except (pylibmc.NotFound, pylibmc.DataExists):
        check(text, True)


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
    refuses("a key of 251 bytes is refused", (pylibmc.Error, ValueError), client.set, "k" * 251, b"x")
    check("add stores a new key", client.add("new", b"1"))
    declines("add refuses a known key", client.add, "new", b"2")
    check("replace stores a known key", client.replace("new", b"3"))
    declines("replace refuses a new key", client.replace, "other", b"1")
    check("append stores", client.append("new", b"4"))
    check("prepend stores", client.prepend("new", b"2"))
    equal("append and prepend add to both ends", client.get("new"), b"234")
    declines("append refuses a new key", client.append, "other", b"1")
    check("delete of a known key", client.delete("new"))
    declines("delete of a missing key", client.delete, "new")


def check_many(client):
    values = {f"many:{number}": b"value %d" % number for number in range(KEYS)}
    equal(f"set_multi stores {KEYS} keys", client.set_multi(values), [])
    equal(f"get_multi returns {KEYS} keys", client.get_multi(list(values)), values)
    missing = [f"none:{number}" for number in range(KEYS)]
    equal("get_multi leaves out what is missing", client.get_multi(missing + list(values)), values)
    check("delete_multi answers", client.delete_multi(list(values)))
    equal("delete_multi deletes them all", client.get_multi(list(values)), {})
    with_noreply = connect(WORDS[0], _noreply=True)
    for key, value in values.items():
        with_noreply.set(key, value)
    # The same connection, so that the quiet commands come first.
    equal(f"{KEYS} sets without an answer are all done", with_noreply.get_multi(list(values)), values)


def check_sizes(client):
    check("the largest value is stored", client.set("large", NOISE[:LARGEST]))
    check("the largest value comes back", client.get("large") == NOISE[:LARGEST])
    refuses("1 MiB is refused", (pylibmc.Error, ValueError), client.set, "large", NOISE[:MIB])
    equal("a refused set leaves no old value", client.get("large"), None)
    refuses("2 MiB is refused", (pylibmc.Error, ValueError), client.set, "large", NOISE)
    check("the client works on after it", client.set("large", b"small") and client.get("large") == b"small")


def check_cas(client):
    client.set("cas", b"0")
    _, token = client.gets("cas")
    check("cas with the current value is stored", client.cas("cas", b"1", token))
    declines("cas with an old value is not", client.cas, "cas", b"2", token)
    equal("gets of a missing key is a miss", client.gets("missing"), (None, None))
    client.set("race", 0)
    lost = race("race")
    equal("two processes lose no increment", client.get("race"), 2 * RACE_ROUNDS)
    check("they did meet", lost > 0, "no round was lost")


def check_counters(client):
    client.set("counter", 10)
    equal("incr adds", client.incr("counter", 5), 15)
    equal("decr subtracts", client.decr("counter", 6), 9)
    equal("a counter reads as a number", client.get("counter"), 9)
    equal("decr stops at 0", client.decr("counter", 100), 0)
    refuses("incr of a missing key is a miss", pylibmc.NotFound, client.incr, "missing")
    client.set("counter", 18446744073709551615)
    equal("incr wraps at 64 bits", client.incr("counter", 2), 1)
    client.set("counter", b"word")
    refuses("incr of a word is refused", pylibmc.Error, client.incr, "counter")
    client.disconnect_all()


def check_time(client):
    client.set("short", b"1", time=2)
    client.set("absolute", b"1", time=int(time.time()) + 2)
    client.set("touched", b"1", time=2)
    client.set("shortened", b"1", time=100)
    client.set("forever", b"1")
    equal("a value lives until it expires", client.get("short"), b"1")
    check("touch finds the key", client.touch("touched", 100))
    check("touch can shorten", client.touch("shortened", 2))
    declines("touch of a missing key is a miss", client.touch, "missing", 100)
    time.sleep(SLEEP_SECONDS)
    equal("a relative time ends", client.get("short"), None)
    equal("an absolute time ends", client.get("absolute"), None)
    equal("touch kept its key", client.get("touched"), b"1")
    equal("touch shortened its key", client.get("shortened"), None)
    equal("no time is for ever", client.get("forever"), b"1")


def check_admin(client):
    ((_, stats),) = client.get_stats()
    check("stats has what others read", int(stats["curr_items"]) > 0 and "get_hits" in stats, stats)
    check("flush_all answers", client.flush_all())
    equal("flush_all empties", client.get("forever"), None)


def check_restart(client):
    client.set("kept", b"1")
    ask("restart 0")
    # Over binary each refused try puts the next real one off, so the pause must
    # be longer than retry_timeout.
    is_back = until(lambda: client.set("again", b"2"), tries=5, pause_seconds=1.5)
    check("after a restart the same client stores again", is_back)
    equal("and reads it", client.get("again"), b"2")
    equal("and the cache was empty", client.get("kept"), None)


def check_nodes(one, two):
    client = connect(one, two, remove_failed=1, dead_timeout=DEAD_SECONDS)
    values = {f"node:{number}": b"%d" % number for number in range(NODE_KEYS)}
    equal("two nodes: every key is stored", client.set_multi(values), [])
    equal("two nodes: every key is found", client.get_multi(list(values)), values)
    on_one = set(connect(one).get_multi(list(values)))
    on_two = set(connect(two).get_multi(list(values)))
    check("two nodes: each holds its part", on_one and on_two and not on_one & on_two
          and len(on_one | on_two) == NODE_KEYS, f"{len(on_one)} and {len(on_two)}")
    ask("stop 2")
    found = {key for key in values if settle(lambda: client.get(key)) is not None}
    equal("a node dies: the other's keys stay", found, on_one)
    stored = [eventually(lambda: client.set(key, value)) for key, value in values.items()]
    check("a node dies: the other takes its keys", all(stored))
    equal("a node dies: every key is found again", client.get_multi(list(values)), values)
    ask("start 2")
    time.sleep(DEAD_SECONDS + 1.2)
    check("the node is back: every key is stored",
          all([eventually(lambda: client.set(key, value)) for key, value in values.items()]))
    equal("the node is back: it has the keys it had", set(connect(two).get_multi(list(values))), on_two)


def main():
    if WORDS[0] == "race":
        _, server, key, count = WORDS
        client = connect(server)
        run_race(int(count), lambda: increment(client, key))
        return
    client = connect(WORDS[0])
    check_values(client)
    check_many(client)
    check_sizes(client)
    check_cas(client)
    check_counters(client)
    check_time(client)
    check_admin(client)
    check_restart(client)
    check_nodes(WORDS[1], WORDS[2])
    end()


main()
