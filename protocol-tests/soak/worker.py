"""The load of one client, every answer checked.

    worker.py CLIENT PORT TLS_PORT AUTHORITY SEED RATE PHASE_SECONDS INTERVAL_SECONDS START SECONDS

Nobody else writes the keys of a worker, so it knows what each may hold: the last value that was acknowledged, or
nothing at all, because the server evicts and somebody flushes. Every other answer is a violation:

- a value of another key, another time, cut or changed: its bytes say whose it is, and all of them are compared
- a value after its delete, after a flush of its own, or two seconds after it expired
- a counter that lost an increment, a cas with an old token that is stored, or one with the current token refused
- an error of the client, whatever it says

The sizes of the values move from phase to phase, all workers at once, so that the server has to move its pages.
Per interval one line of JSON goes to standard output: operations, errors, connections made, and the histogram of
the time of a call in microseconds. `START` is wall-clock seconds, the same for all workers.
"""

import json
import math
import random
import sys
import time
import types
import zlib

from hdrh.histogram import HdrHistogram

from adapters import ADAPTERS

# Any size can be cut from it; random, so that nothing compresses.
NOISE = random.Random(1).randbytes(2 << 20)
# Median bytes of a value, phase by phase.
PHASE_SIZES = (100, 1000, 8000, 300, 30000)
SIZE_MAX = 600_000
KEYS = 8000
COUNTERS = 50
MANY = 40
OPERATIONS_PER_CONNECTION = 500
# memcached's second may have begun before ours, and its clock has no parts of a second.
EXPIRY_SLACK_SECONDS = 2.5
ERRORS_SHOWN = 20


class Violation(Exception):
    """An answer that no correct server gives."""


class Known:
    """What a key may hold: the bytes last acknowledged, until then."""

    __slots__ = ("number", "size", "tail", "deadline")

    def __init__(self, number, size, deadline):
        self.number = number
        self.size = size
        self.tail = b""
        self.deadline = deadline


class Worker:
    def __init__(self, name, server, seed, phase_seconds, start):
        self.name = name
        self.server = server
        self.random = random.Random(f"{seed} {name}")
        self.phase_seconds = phase_seconds
        self.start = start
        self.known = {}
        self.counters = {}
        self.number = 0
        self.left = 0
        self.client = None
        self.connections = 0
        self.errors = 0
        self.shown = 0
        self.misses = 0
        self.hits = 0
        self.operations = 0
        self.asked_at = 0
        self.histogram = new_histogram()

    # --- values ---

    def bytes_of(self, key, known):
        """key, number and size, then noise from a place that these choose, then their checksum."""
        head = b"%s %d %d " % (key.encode(), known.number, known.size)
        place = zlib.crc32(head) % (1 << 20)
        body = head + NOISE[place:place + known.size]
        return body + b"%08x" % zlib.crc32(body) + known.tail

    def fresh(self, deadline):
        self.number += 1
        phase = int((time.time() - self.start) / self.phase_seconds) % len(PHASE_SIZES)
        size = int(PHASE_SIZES[phase] * math.exp(self.random.gauss(0, 1)))
        return Known(self.number, min(size, SIZE_MAX), deadline)

    def check(self, key, value):
        """A hit holds what is known; a miss is forgotten."""
        known = self.known.get(key)
        if value is None:
            self.misses += 1
            self.known.pop(key, None)
            return
        self.hits += 1
        if known is None:
            raise Violation(f"{key} should hold nothing, not {value[:60]!r}")
        if self.asked_at > known.deadline + EXPIRY_SLACK_SECONDS:
            raise Violation(f"{key} should have expired {self.asked_at - known.deadline:.1f} s before it was asked for")
        wanted = self.bytes_of(key, known)
        if value != wanted:
            raise Violation(f"{key} should hold {wanted[:60]!r} ({len(wanted)}), not {value[:60]!r} ({len(value)})")

    def key(self):
        """Some keys are asked for more often than others."""
        return f"{self.name}:{int(KEYS * self.random.random() ** 3)}"

    # --- operations: each at most a few calls ---

    def timed(self, call, *arguments):
        # A slow client may get its answer long after it was given.
        self.asked_at = time.time()
        began = time.perf_counter_ns()
        answer = call(*arguments)
        self.histogram.record_value(max(1, (time.perf_counter_ns() - began) // 1000))
        self.operations += 1
        return answer

    def get(self):
        key = self.key()
        self.check(key, self.timed(self.client.get, key))
        # As an application does: what is missing is made.
        if key not in self.known:
            self.store(key, 0)

    def set(self):
        self.store(self.key(), self.random.choice((0, 0, 0, 0, 600)))

    def set_short(self):
        self.store(self.key(), self.random.randint(1, 20))

    def store(self, key, seconds):
        fresh = self.fresh(math.inf)
        # Unsure until acknowledged: an exception leaves the key unknown.
        self.known.pop(key, None)
        if not self.timed(self.client.set, key, self.bytes_of(key, fresh), seconds):
            raise Violation(f"set of {key}, {fresh.size} bytes, was refused")
        if seconds:
            fresh.deadline = time.time() + seconds
        self.known[key] = fresh

    def get_many(self):
        keys = list({self.key() for _ in range(MANY)})
        found = self.timed(self.client.get_many, keys)
        if not set(found) <= set(keys):
            raise Violation(f"a key that was not asked for is among {sorted(found)}")
        for key in keys:
            self.check(key, found.get(key))

    def delete(self):
        key = self.key()
        was_there = self.timed(self.client.delete, key)
        known = self.known.pop(key, None)
        if was_there and known is None:
            raise Violation(f"delete found {key}, which should hold nothing")
        self.check(key, self.timed(self.client.get, key))

    def incr(self):
        if not self.client.incr:
            return
        key = f"{self.name}:counter:{self.random.randrange(COUNTERS)}"
        amount = self.random.randint(1, 1000)
        value = self.timed(self.client.incr, key, amount)
        known = self.counters.pop(key, None)
        if value is None:
            self.timed(self.client.set, key, b"0", 0)
            known, value = 0, self.timed(self.client.incr, key, amount)
            # Gone again already: flushed by another.
            if value is None:
                return
        if known is None or value != known + amount:
            raise Violation(f"{key} should be {known} + {amount}, not {value}")
        self.counters[key] = value

    def append(self):
        key = self.key()
        known = self.known.get(key)
        if not self.client.append or known is None or len(known.tail) > 100:
            return
        if self.timed(self.client.append, key, b" and more"):
            known.tail += b" and more"
        self.check(key, self.timed(self.client.get, key))

    def cas(self):
        if not self.client.cas:
            return
        key = self.key()
        answer = self.timed(self.client.gets, key)
        self.check(key, answer and answer[0])
        if answer is None:
            return
        token = answer[1]
        fresh, later = self.fresh(math.inf), self.fresh(math.inf)
        is_stored = self.timed(self.client.cas, key, self.bytes_of(key, fresh), token)
        if is_stored:
            self.known[key] = fresh
            if self.timed(self.client.cas, key, self.bytes_of(key, later), token):
                raise Violation(f"cas of {key} was stored with an old token")
        else:
            # Only what is gone, because evicted, expired or flushed, may refuse the current token.
            value = self.timed(self.client.get, key)
            if value is not None:
                raise Violation(f"cas of {key} was refused with the current token: {is_stored!r}")
            self.known.pop(key)

    def touch(self):
        key = self.key()
        known = self.known.get(key)
        if not self.client.touch or known is None:
            return
        seconds = self.random.randint(2, 30)
        if self.timed(self.client.touch, key, seconds):
            if self.asked_at > known.deadline + EXPIRY_SLACK_SECONDS:
                raise Violation(f"touch found {key}, which had expired")
            known.deadline = time.time() + seconds
        else:
            self.known.pop(key)

    def flush(self):
        if not self.client.flush:
            return
        self.timed(self.client.flush)
        keys = self.random.sample(sorted(self.known), min(MANY, len(self.known)))
        self.known.clear()
        self.counters.clear()
        for key in keys:
            self.check(key, self.timed(self.client.get, key))

    # --- the loop ---

    def connect(self):
        if self.client:
            self.client.close()
        self.client = None
        self.client = ADAPTERS[self.name](self.server)
        self.connections += 1
        self.left = OPERATIONS_PER_CONNECTION

    def turn(self):
        try:
            if self.left <= 0:
                self.connect()
            self.left -= 1
            self.random.choices(MIX, WEIGHTS)[0](self)
        except Exception as error:  # Whatever a client raises is what this program looks for.
            self.errors += 1
            self.left = 0
            if self.shown < ERRORS_SHOWN:
                self.shown += 1
                print(f"{time.strftime('%H:%M:%S')} {self.name}: {type(error).__name__}: {error}"[:500],
                      file=sys.stderr, flush=True)

    def report(self):
        line = {"name": self.name, "operations": self.operations, "errors": self.errors,
                "connections": self.connections, "hits": self.hits, "misses": self.misses,
                "histogram": self.histogram.encode().decode()}
        print(json.dumps(line), flush=True)
        self.operations = self.errors = self.connections = self.hits = self.misses = 0
        self.histogram.reset()


# Weights; a flush about every minute at 1000 turns a second.
MIX, WEIGHTS = zip(
    (Worker.get, 4500), (Worker.set, 2500), (Worker.set_short, 700), (Worker.get_many, 500), (Worker.delete, 600),
    (Worker.incr, 500), (Worker.append, 200), (Worker.cas, 300), (Worker.touch, 200), (Worker.flush, 0.2))


def new_histogram():
    return HdrHistogram(1, 60_000_000, 3)


def main():
    name, port, tls_port, authority, seed = sys.argv[1:6]
    rate, phase_seconds, interval_seconds, start, seconds = map(float, sys.argv[6:])
    server = types.SimpleNamespace(port=int(port), tls_port=int(tls_port), authority=authority)
    worker = Worker(name, server, seed, phase_seconds, start)
    worker.connect()
    time.sleep(max(0, start - time.time()))
    next_turn, next_report = time.time(), start + interval_seconds
    while next_report <= start + seconds + 0.001:
        now = time.time()
        if now >= next_report:
            worker.report()
            next_report += interval_seconds
        elif now < next_turn:
            time.sleep(min(next_turn, next_report) - now)
        else:
            # What could not be done in time is not made up for in a burst.
            next_turn = max(next_turn + 1 / rate, now - 1)
            worker.turn()
    worker.client.close()


if __name__ == "__main__":
    main()
