"""The checker of the soak finds what it is there to find: a client with a fault, each fault of its own.

The client is a dictionary; it needs no server and no library but the worker's own. Ends with 0 if every fault was found
and a client without one was left in peace.
"""

import sys
import time
import types
import unittest

sys.dont_write_bytecode = True

try:
    import hdrh.histogram  # noqa: F401: only to see whether it is here.
except ImportError:
    # A histogram that forgets: the worker's checks are the subject.
    histogram = types.ModuleType("hdrh.histogram")
    histogram.HdrHistogram = lambda *_: types.SimpleNamespace(record_value=lambda value: None, reset=lambda: None)
    sys.modules["hdrh"] = types.ModuleType("hdrh")
    sys.modules["hdrh.histogram"] = histogram

import worker


class Dictionary:
    """A correct cache that neither evicts nor loses anything; expiry by the wall clock."""

    def __init__(self):
        self.items = {}
        self.token = 0

    def set(self, key, value, seconds):
        self.token += 1
        self.items[key] = (value, time.time() + seconds if seconds else float("inf"), self.token)
        return True

    def found(self, key):
        item = self.items.get(key)
        return item if item and time.time() < item[1] else None

    def get(self, key):
        item = self.found(key)
        return item and item[0]

    def get_many(self, keys):
        return {key: self.get(key) for key in keys if self.get(key) is not None}

    def gets(self, key):
        item = self.found(key)
        return item and (item[0], item[2])

    def cas(self, key, value, token):
        item = self.found(key)
        if not item:
            return None
        return item[2] == token and self.set(key, value, 0)

    def delete(self, key):
        return self.items.pop(key, None) is not None

    def append(self, key, value):
        item = self.found(key)
        if item:
            self.items[key] = (item[0] + value, item[1], item[2])
        return bool(item)

    def incr(self, key, amount):
        item = self.found(key)
        if not item:
            return None
        self.set(key, b"%d" % (int(item[0]) + amount), 0)
        return int(item[0]) + amount

    def touch(self, key, seconds):
        item = self.found(key)
        if item:
            self.items[key] = (item[0], time.time() + seconds, item[2])
        return bool(item)

    def flush(self):
        self.items.clear()

    def close(self):
        pass


class OthersValue(Dictionary):
    def get(self, key):
        return self.items[max(self.items)][0] if self.found(key) else None


class CutValue(Dictionary):
    def get_many(self, keys):
        return {key: value[:-1] for key, value in super().get_many(keys).items()}


class OldValue(Dictionary):
    def set(self, key, value, seconds):
        return key in self.items or super().set(key, value, seconds)


class DeletedValue(Dictionary):
    def delete(self, key):
        return key in self.items


class FlushedValue(Dictionary):
    def flush(self):
        pass


class LostIncrement(Dictionary):
    def incr(self, key, amount):
        return super().incr(key, amount - 1)


class OldToken(Dictionary):
    def cas(self, key, value, token):
        return bool(self.found(key)) and self.set(key, value, 0)


class RefusedToken(Dictionary):
    def cas(self, key, value, token):
        return False


class NeverExpired(Dictionary):
    def found(self, key):
        return self.items.get(key)


class Refusal(Dictionary):
    def set(self, key, value, seconds):
        return len(value) < 300 and super().set(key, value, seconds)


class WorkerTest(unittest.TestCase):
    def errors(self, kind, turns=1500):
        """Violations in so many turns over one server, connecting anew as after each of them."""
        server = kind()
        worker.ADAPTERS["dictionary"] = lambda _: server
        # A key is met often enough; expiry need not be waited for.
        subject = worker.Worker("dictionary", None, 1, 1000, time.time())
        subject.shown = worker.ERRORS_SHOWN
        subject.key = lambda: f"dictionary:{subject.random.randrange(100)}"
        for number in range(turns):
            subject.turn()
            if number % 200 == 100:
                subject.left = 1
                self.flush(subject)
        return subject.errors

    def flush(self, subject):
        try:
            subject.flush()
        except worker.Violation:
            subject.errors += 1

    def test_a_correct_cache_has_no_error(self):
        self.assertEqual(self.errors(Dictionary), 0)

    def test_every_fault_is_found(self):
        for kind in (OthersValue, CutValue, OldValue, DeletedValue, FlushedValue, LostIncrement, OldToken, RefusedToken,
                     Refusal):
            with self.subTest(kind.__name__):
                self.assertGreater(self.errors(kind), 0)

    def test_what_should_have_expired_is_found(self):
        subject = worker.Worker("dictionary", None, 1, 1000, time.time())
        subject.client = NeverExpired()
        subject.store("dictionary:1", 5)
        known = subject.known["dictionary:1"]
        subject.check("dictionary:1", subject.timed(subject.client.get, "dictionary:1"))
        known.deadline -= 5 + worker.EXPIRY_SLACK_SECONDS
        with self.assertRaises(worker.Violation):
            subject.check("dictionary:1", subject.timed(subject.client.get, "dictionary:1"))


if __name__ == "__main__":
    unittest.main()
