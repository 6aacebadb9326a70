"""Wait for a condition, and start several threads together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout: float = 10.0, what: str = "the condition") -> T:
    """Wait until ``condition()`` is truthy, and return its result; fail after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        pause.wait(0.01)
    return found


def at_once(count: int, act: Callable[[int], T]) -> list[T]:
    """Call ``act(0)`` to ``act(count - 1)``, each in a thread of its own, at the same time; return their results."""
    barrier = threading.Barrier(count)

    def run(number: int) -> T:
        barrier.wait(timeout=10)
        return act(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))
