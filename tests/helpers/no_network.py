"""Sees whether code touches the network, or waits, on the thread that calls it."""

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

#: What was seen, by the thread that is watched.
_watched: dict[int, list[str]] = {}

#: Modules whose functions wait for file descriptors.
_WAITING_MODULES: Final = ("select", "_ssl")


@contextmanager
def no_socket_is_touched() -> Iterator[None]:
    """Fails when the block creates or uses a socket, or sleeps or polls, on this thread; others may.

    An audit hook sees sockets made, connected and names looked up; a profile function sees the calls into C that no
    audit event is raised for, such as ``send`` and ``recv`` on a connection that is open.
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
    # What every socket has, open or closed, and asks nothing of the network.
    if isinstance(owner, socket.SocketType) and function.__name__ not in ("fileno", "gettimeout"):
        return name
    return name if module in _WAITING_MODULES or function is time.sleep else ""


@cache
def _install_audit_hook() -> None:
    """Once for all: such a hook cannot be removed."""

    def audit(event: str, args: tuple[object, ...]) -> None:
        if event.startswith("socket.") and (seen := _watched.get(threading.get_ident())) is not None:
            seen.append(f"{event}{args[1:]}")

    sys.addaudithook(audit)
