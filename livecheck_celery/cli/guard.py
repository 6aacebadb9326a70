"""Ends process groups whose supervisor was killed before it could.

Run as a script, with nothing but the standard library. Standard input names the groups, one a line: ``123`` is to be
guarded, ``-123`` is no longer. It ends when the supervisor does, however that came about, and ends them.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress

GRACE = 5.0


def kill(group: int, signum: int) -> bool:
    """Signal a process group; whether there was one."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signum)
        return True
    return False


def main(lines: Iterable[str]) -> None:
    """Guard the groups that ``lines`` name, until there are no more lines."""
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
