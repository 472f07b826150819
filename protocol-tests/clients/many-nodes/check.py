"""Three nodes behind what spreads keys over them: a proxy, or a client's own hashing.

    check.py nutcracker|pylibmc|pymemcache NODE0 NODE1 NODE2

The course is the same for all: each node holds its part; one dies, and its keys
and no others move, to both of the others; it comes back, and has the keys it
had. All the way every value read is one that was stored under its key, and
never an older one than it could be: a key that moves and moves back may show
the value of its last stay, which README.md and docs/many-nodes.md tell of.

nutcracker is Debian's twemproxy, asked by pymemcache's plain client. pylibmc
has libmemcached's ketama; pymemcache has rendezvous hashing.
"""

import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import pylibmc
from harness import address, ask, check, end, equal, eventually, settle, until
from pymemcache.client.base import Client
from pymemcache.client.hash import HashClient

KEYS = [f"key:{number}" for number in range(1000)]
DEAD_SECONDS = 1
# Shares of a third each: ketama's 160 points for a node spread by some
# percent, rendezvous hashing by less.
SHARE_MIN, SHARE_MAX = 0.20, 0.47


def value_of(key, version):
    """A value tells whose it is, so that a wrong one is found out."""
    return f"{key} v{version}".encode()


# --- ways to three nodes ------------------------------------------------------


class Way:
    """Clients differ in how they find nodes, and hardly in how they are asked."""

    # Some answer with an error to the first request for a dead node, and only
    # then take the node out.
    retries = 5

    def set(self, key, value):
        return self.client.set(key, value)

    def get(self, key):
        return self.client.get(key)

    def get_many(self, keys):
        return self.client.get_many(keys)

    def close(self):
        self.client.close()


class Nutcracker(Way):
    """A nutcracker of our own on a loopback port, and a plain client of it."""

    name = "nutcracker"

    def __init__(self, servers):
        self.folder = tempfile.mkdtemp(prefix="many-nodes-")
        self.port = free_port()
        config = pathlib.Path(self.folder, "nutcracker.yml")
        config.write_text(CONFIG.format(
            port=self.port, dead_milliseconds=DEAD_SECONDS * 1000,
            servers="\n".join(f"    - {server}:1" for server in servers)))
        words = ["nutcracker", "-c", str(config), "-o", str(pathlib.Path(self.folder, "log")), "-a", "127.0.0.1",
                 "-s", str(free_port()), "-p", str(pathlib.Path(self.folder, "pid"))]
        guard = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
        self.process = subprocess.Popen(guard + words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, env=dict(os.environ, PATH=path))
        self.client = Client(("127.0.0.1", self.port), timeout=5, connect_timeout=5, default_noreply=False)
        eventually(lambda: self.client.get("anything"))

    def close(self):
        super().close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(5)
        shutil.rmtree(self.folder, ignore_errors=True)


# The hash and the ring are those of libmemcached's weighted ketama.
CONFIG = """many:
  listen: 127.0.0.1:{port}
  hash: md5
  distribution: ketama
  timeout: 1000
  auto_eject_hosts: true
  server_retry_timeout: {dead_milliseconds}
  server_failure_limit: 1
  servers:
{servers}
"""


class Pylibmc(Way):
    """libmemcached's ketama."""

    name = "pylibmc"

    def __init__(self, servers):
        self.client = pylibmc.Client(servers, behaviors={
            "hash": "md5", "ketama_weighted": True, "remove_failed": 1, "dead_timeout": DEAD_SECONDS,
            "connect_timeout": 1000, "receive_timeout": 5_000_000, "send_timeout": 5_000_000})

    def get_many(self, keys):
        return self.client.get_multi(keys)

    def close(self):
        self.client.disconnect_all()


class Pymemcache(Way):
    """Rendezvous hashing."""

    name = "pymemcache"

    def __init__(self, servers):
        self.client = HashClient([address(server) for server in servers], timeout=5, connect_timeout=5,
                                 default_noreply=False, retry_attempts=0, dead_timeout=DEAD_SECONDS)


WAYS = {way.name: way for way in (Nutcracker, Pylibmc, Pymemcache)}


# --- the course ---------------------------------------------------------------


def free_port():
    """A port below the ephemeral range that nobody listens on."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


def held_by(server):
    """Which keys a node holds, asked directly, with their values."""
    client = Client(address(server), timeout=5, connect_timeout=5)
    try:
        return client.get_many(KEYS)
    finally:
        client.close()


def patiently(way, call):
    """What an application does with an error: it tries again, a few times."""
    return eventually(call, tries=way.retries, pause_seconds=0.05)


def store_all(way, version):
    """How many keys were not stored."""
    return sum(1 for key in KEYS if not settle(lambda: patiently(way, lambda: way.set(key, value_of(key, version)))))


def read_all(way):
    """Key to value, for those that are found one by one."""
    found = {}
    for key in KEYS:
        value = settle(lambda: patiently(way, lambda: way.get(key)))
        if value is not None:
            found[key] = value
    return found


def wrong(values, *versions):
    """Keys whose value was never stored under them, or not in these versions."""
    return [key for key, value in values.items() if value not in {value_of(key, version) for version in versions}]


def check_spread(servers, what):
    held = [set(held_by(server)) for server in servers]
    counts = [len(keys) for keys in held]
    equal(f"{what}: every key is on one node", (sum(counts), len(set.union(*held))), (len(KEYS), len(KEYS)))
    check(f"{what}: each node holds its part", all(SHARE_MIN <= count / len(KEYS) <= SHARE_MAX for count in counts),
          f"{counts}")
    return held


def check_death(way, servers, held):
    """Node 1 dies: its keys move, to both of the others, and no others move."""
    ask("stop 1")
    found = read_all(way)
    equal("a node dies: no wrong value", wrong(found, 1), [])
    equal("a node dies: the others' keys stay, its own are misses", set(found), held[0] | held[2])
    equal("a node dies: every key is stored", store_all(way, 2), 0)
    found = read_all(way)
    equal("a node dies: every key is found again", len(found), len(KEYS))
    equal("a node dies: no old value", wrong(found, 2), [])
    moved = [set(held_by(servers[0])) - held[0], set(held_by(servers[2])) - held[2]]
    equal("a node dies: what moves is what it had", moved[0] | moved[1], held[1])
    smaller = min(len(keys) for keys in moved)
    check("a node dies: both others take a part of it", smaller >= len(held[1]) * 0.2, f"{smaller} of {len(held[1])}")


def check_return(way, servers, held):
    """Node 1 comes back, empty: its keys are misses, then its own again."""
    ask("start 1")
    time.sleep(DEAD_SECONDS + 0.5)
    mine = next(iter(held[1]))
    # A way notices the return at some request, not by itself.
    check("the node is back: it is used again",
          until(lambda: way.set(mine, value_of(mine, 2)) and mine in held_by(servers[1])))
    found = read_all(way)
    equal("the node is back: no wrong value", wrong(found, 2), [])
    equal("the node is back: its keys are misses, the others' are found", set(found), held[0] | held[2] | {mine})
    equal("the node is back: every key is stored", store_all(way, 3), 0)
    equal("the node is back: it has the keys it had", set(held_by(servers[1])), held[1])
    found = read_all(way)
    equal("the node is back: every key is found", len(found), len(KEYS))
    equal("the node is back: no old value", wrong(found, 3), [])
    many = settle(lambda: way.get_many(KEYS)) or {}
    equal("the node is back: every key is found in one request", (len(many), wrong(many, 3)), (len(KEYS), []))


def check_second_death(way, held):
    """What moved the first time is still where it went: old, but never of another key."""
    ask("stop 1")
    found = read_all(way)
    equal("it dies again: no other key's value", wrong(found, 2, 3), [])
    equal("it dies again: the others' keys are as they were",
          wrong({key: found.get(key) for key in held[0] | held[2]}, 3), [])
    old = {key for key, value in found.items() if value == value_of(key, 2)}
    check("it dies again: old values are of its keys only", old <= held[1], f"{len(old - held[1])} others")
    print(f"note: {len(old)} of {len(held[1])} keys show the value of their last stay", flush=True)
    ask("start 1")


def check_ring(way, servers, held):
    """nutcracker and libmemcached put every key on the same node, so that one can take the other's place."""
    other = Pylibmc(servers)
    time.sleep(DEAD_SECONDS + 0.5)
    until(lambda: all(settle(lambda: other.set(key, value_of(key, 4))) for key in KEYS))
    spread = [{key for key, value in held_by(server).items() if value == value_of(key, 4)} for server in servers]
    equal("libmemcached's ketama agrees on every key", spread, held)
    other.close()


def main():
    _, name, *servers = sys.argv
    way = WAYS[name](servers)
    try:
        equal("three nodes: every key is stored", store_all(way, 1), 0)
        held = check_spread(servers, "three nodes")
        equal("three nodes: every value is right", (len(read_all(way)), wrong(read_all(way), 1)), (len(KEYS), []))
        check_death(way, servers, held)
        check_return(way, servers, held)
        check_second_death(way, held)
        if name == "nutcracker":
            check_ring(way, servers, held)
    finally:
        way.close()
    end()


main()
