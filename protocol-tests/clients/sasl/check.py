"""Logins by SASL PLAIN: python-binary-memcached. The libmemcached inside pylibmc finds no mechanism of its own."""

import sys

import bmemcached
from bmemcached.exceptions import MemcachedException
from harness import ask, check, end, equal, refuses, until

# What the driver writes into the servers' password file.
USER, PASSWORD = "web@cache", "a pass word"


def connect(server, password=PASSWORD):
    return bmemcached.Client((server,), USER, password, socket_timeout=5)


def check_bmemcached(server):
    client = connect(server)
    check("a client that logs in stores", client.set("a", b"one"))
    equal("and reads", client.get("a"), b"one")
    values = {f"many:{number}": b"value %d" % number for number in range(500)}
    equal("set_multi stores 500 keys", client.set_multi(values), [])
    equal("get_multi returns them", client.get_multi(list(values)), values)
    refuses("a wrong password is refused", MemcachedException, connect(server, "wrong").get, "a")
    stranger = bmemcached.Client((server,), socket_timeout=5)
    refuses("without a login nothing is read", MemcachedException, stranger.get, "a")
    check("and nothing is stored", not stranger.set("a", b"two"))
    equal("the value is what it was", client.get("a"), b"one")
    ask("restart 0")
    check("after a restart the same client logs in again", until(lambda: client.set("again", b"2")))
    equal("and reads what it stored", client.get("again"), b"2")


def main():
    check_bmemcached(sys.argv[1])
    end()


main()
