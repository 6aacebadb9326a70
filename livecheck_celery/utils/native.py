"""Threads, locks and sockets of the system, in processes that gevent may have patched."""

from __future__ import annotations

import sys
from typing import Any


def native(module: str, name: str) -> Any:
    """Return an attribute of a module as it was before gevent patched it: greenlets stop when one of them blocks."""
    monkey: Any = sys.modules.get("gevent.monkey")
    return monkey.get_original(module, name) if monkey else getattr(sys.modules[module], name)


def threads_are_greenlets() -> bool:
    """Return whether gevent has replaced threads, so that all of them share one of the system's."""
    monkey: Any = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))
