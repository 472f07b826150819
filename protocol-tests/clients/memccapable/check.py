"""libmemcached's memccapable: its 54 tests of the two protocols, one check each.

Two of them fail against memcached itself since its 1.6.40, where the parsers of
the text protocol became one: the tool wants an error for a delete with too many
words, memcached answers NOT_FOUND. What counts is to answer as the memcached of
the version that the server says it is, so there these two must fail.
"""

import re
import socket
import subprocess
import sys

FAILS_SINCE = {"ascii delete": (1, 6, 40), "ascii delete noreply": (1, 6, 40)}
TESTS_PER_PROTOCOL = 27


def version(host, port):
    with socket.create_connection((host, int(port)), 5) as connection:
        connection.sendall(b"version\r\n")
        answer = connection.makefile("rb").readline().decode()
    return tuple(int(number) for number in re.match(r"VERSION (\d+)\.(\d+)\.(\d+)", answer).groups())


def run(option, host, port):
    """Each test's name and whether it passed.

    Only a pass ends its line on standard output, so a test that failed stands
    on the same line as the one after it.
    """
    done = subprocess.run(["memccapable", "-h", host, "-p", port, "-t", "5", option], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    tests = re.findall(r"((?:ascii|binary) [a-z]+(?: noreply)?) +(\[pass\])?", done.stdout)
    return {name: bool(is_passed) for name, is_passed in tests}


def main():
    host, port = sys.argv[1].split(":")
    its_version = version(host, port)
    for option, protocol in (("-a", "ascii"), ("-b", "binary")):
        results = run(option, host, port)
        for name, is_passed in results.items():
            must_pass = name not in FAILS_SINCE or its_version < FAILS_SINCE[name]
            text = name if must_pass else f"{name}: does not pass, as against memcached"
            print(f"ok - {text}" if is_passed == must_pass else f"not ok - {text}: passed {is_passed}")
        if len(results) != TESTS_PER_PROTOCOL:
            print(f"not ok - {protocol}: {TESTS_PER_PROTOCOL} tests: {len(results)} of them ran")
    print("end")


main()
