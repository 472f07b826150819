"""What the Python programs share: checks, the shared sizes, words to the driver.

The words are those of README.md, "Protocol". Nothing here talks to a server.
"""

import random
import sys
import time

KEYS = 500
NODE_KEYS = 200
RACE_ROUNDS = 1000
MIB = 1 << 20
LARGEST = MIB - 100
# Above 2 seconds: an item that expires in 2 is gone, whatever the tick.
SLEEP_SECONDS = 3.2

# Any byte may be in a value: a line end, a NUL, the end of an answer.
BINARY = b"END\r\n\0\r\nVALUE x 0 1\r\n" + bytes(range(256))
# Random, so that no client's compression makes it fit.
NOISE = random.Random(1).randbytes(2 * MIB)


def check(text, is_right, detail=""):
    if is_right:
        print(f"ok - {text}", flush=True)
    else:
        print(f"not ok - {text}: {detail}"[:300], flush=True)


def equal(text, got, wanted):
    check(text, got == wanted, f"got {got!r}, not {wanted!r}")


def refuses(text, kind, call, *arguments, **named):
    """The call raises an error of this kind."""
    try:
        got = call(*arguments, **named)
    except kind:
        check(text, True)
    except Exception as error:
        check(text, False, f"raised {error!r}")
    else:
        check(text, False, f"returned {got!r}")


def ask(line):
    """Asks the driver for something and waits for its answer's word, if any."""
    print(line, flush=True)
    words = sys.stdin.readline().split()
    assert words and words[0] == "done", words
    return words[1:]


def race(key):
    """Two copies increment `key` by gets and cas; how many rounds were lost."""
    (lost,) = ask(f"race {key} {RACE_ROUNDS}")
    return int(lost)


def run_race(count, increment):
    """The part of a copy: `increment` says whether its cas was stored."""
    print("ready", flush=True)
    sys.stdin.readline()
    lost = 0
    for _ in range(count):
        while not increment():
            lost += 1
    print(f"lost {lost}", flush=True)


def eventually(call, tries=50, pause_seconds=0.1):
    """The first result that is no exception: what an application's retry does."""
    for _ in range(tries - 1):
        try:
            return call()
        except Exception:
            time.sleep(pause_seconds)
    return call()


def until(call, tries=80, pause_seconds=0.1):
    """Whether the call came to something true in time."""
    for _ in range(tries):
        if settle(call):
            return True
        time.sleep(pause_seconds)
    return False


def settle(call):
    """The result, or None where the client raises: for calls to a dead node."""
    try:
        return call()
    except Exception:
        return None


def address(server):
    host, port = server.split(":")
    return host, int(port)


def end():
    print("end", flush=True)
