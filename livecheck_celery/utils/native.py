"""Threads, locks and sockets of the system, in processes that gevent may have patched."""

from __future__ import annotations

import sys
from typing import Any


def native(module: str, name: str) -> Any:
    """Return an attribute of a module as it was before gevent patched it: greenlets stop when one of them blocks."""
    monkey: Any = sys.modules.get("gevent.monkey")
    return monkey.get_original(module, name) if monkey else getattr(sys.modules[module], name)
