"""Assert that code does no network I/O, and does not wait, in the calling thread."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import FrameType
from typing import Any, Final

#: Calls found so far, by the id of a watched thread.
_watched: dict[int, list[str]] = {}

#: The functions of ``select`` and its objects that wait. Others only note a descriptor, as a kombu poller does that is
#: collected as garbage, which happens in any thread.
_WAITS: Final = ("select", "poll", "control")


@contextmanager
def no_network_io() -> Iterator[None]:
    """Fail if the block creates or uses a socket, sleeps, or polls in this thread; other threads may.

    An audit hook finds sockets that are created or connected, and names that are resolved. A profile function finds
    calls into C without an audit event, such as ``send`` and ``recv`` on an open connection.
    """
    _install_audit_hook()
    me = threading.get_ident()
    seen = _watched[me] = []

    def profile(frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call" and (what := _forbidden(function)):
            seen.append(f"{what} in {frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(before)
        del _watched[me]
    assert not seen, "on the calling thread: " + "; ".join(seen[:5])


def _forbidden(function: Any) -> str:
    owner = getattr(function, "__self__", None)
    module = getattr(function, "__module__", None) or type(owner).__module__
    name = getattr(function, "__qualname__", "?")
    # These two do no I/O.
    if isinstance(owner, socket.SocketType) and function.__name__ not in ("fileno", "gettimeout"):
        return name
    waits = module == "_ssl" or (module == "select" and function.__name__ in _WAITS) or function is time.sleep
    return name if waits else ""


@cache
def _install_audit_hook() -> None:
    """Install the hook once; it cannot be removed."""

    def audit(event: str, args: tuple[object, ...]) -> None:
        if event.startswith("socket.") and (seen := _watched.get(threading.get_ident())) is not None:
            seen.append(f"{event}{args[1:]}")

    sys.addaudithook(audit)
