"""libmemcached's memccapable: its 54 tests of the two protocols, one check each.

Two of them fail against memcached itself: the tool wants an error for a delete
with too many words, memcached answers NOT_FOUND. What counts is to answer as
memcached does, so these two must fail here too.
"""

import re
import subprocess
import sys

FAILS_ON_MEMCACHED = {"ascii delete", "ascii delete noreply"}
TESTS_PER_PROTOCOL = 27


def run(option, host, port):
    """Each test's name and whether it passed.

    Only a pass ends its line on standard output, so a test that failed stands
    on the same line as the one after it.
    """
    done = subprocess.run(["memccapable", "-h", host, "-p", port, "-t", "5", option],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    tests = re.findall(r"((?:ascii|binary) [a-z]+(?: noreply)?) +(\[pass\])?", done.stdout)
    return {name: bool(is_passed) for name, is_passed in tests}


def main():
    host, port = sys.argv[1].split(":")
    for option, protocol in (("-a", "ascii"), ("-b", "binary")):
        results = run(option, host, port)
        for name, is_passed in results.items():
            must_pass = name not in FAILS_ON_MEMCACHED
            text = name if must_pass else f"{name}: does not pass, as against memcached"
            print(f"ok - {text}" if is_passed == must_pass else f"not ok - {text}: passed {is_passed}")
        if len(results) != TESTS_PER_PROTOCOL:
            print(f"not ok - {protocol}: {TESTS_PER_PROTOCOL} tests: {len(results)} of them ran")
    print("end")


main()
