"""A guard that ends the process groups of a supervisor that was killed.

Run as a script; needs only the standard library. Each line of standard input is the id of a process group: ``123``
adds the group, ``-123`` removes it. End of input means that the supervisor has exited; the guard then ends the groups
that are left, and exits.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress

#: Seconds from SIGTERM to SIGKILL.
GRACE = 5.0


def kill(group: int, signum: int) -> bool:
    """Send a signal to a process group; return whether the group exists."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signum)
        return True
    return False


def main(lines: Iterable[str]) -> None:
    """Read group ids from ``lines`` until the end, then end the groups that are left."""
    groups: set[int] = set()
    for line in lines:
        number = int(line)
        if number > 0:
            groups.add(number)
        else:
            groups.discard(-number)
    groups = {group for group in groups if kill(group, signal.SIGTERM)}
    deadline = time.monotonic() + GRACE
    while groups and time.monotonic() < deadline:
        time.sleep(0.05)
        groups = {group for group in groups if kill(group, 0)}
    for group in groups:
        kill(group, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.stdin)
