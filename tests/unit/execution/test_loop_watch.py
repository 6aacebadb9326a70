"""What the watch of an event loop logs, by a clock that only its looks at the loop advance."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from livecheck_celery.execution import loop_watch
from livecheck_celery.execution.loop_watch import LoopWatch
from livecheck_celery.utils import throttle

Watch = Callable[..., list[str]]


class Answer:
    """An event that is set when the loop has run all of ``running``, one task for each look at it."""

    def __init__(self, running: list[str]) -> None:
        self.running = running
        self.looks = 0

    def wait(self, seconds: float) -> bool:
        self.looks += 1
        return self.looks > len(self.running) - 1

    @property
    def task(self) -> str:
        return self.running[min(self.looks, len(self.running) - 1)]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Watch]:
    """Watches a loop that runs the given tasks, for 0.1 s each; returns the lines of the log so far."""
    loop, seconds, answers = asyncio.new_event_loop(), 0.0, list[Answer]()
    watched: Any = LoopWatch(loop, threading.main_thread(), lambda: seconds > 0)

    def clock() -> float:
        return seconds + answers[-1].looks * 0.1

    def call(running: list[str], place: str = ", at shop.py:7 in run()") -> list[str]:
        nonlocal seconds
        seconds = clock() if answers else 100.0
        answers.append(Answer(running))
        monkeypatch.setattr(loop_watch, "current_place", lambda _: place)
        watched._wait(answers[-1])
        return caplog.messages

    for module in (loop_watch, throttle):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(watched, "_running", lambda: answers[-1].task)
    monkeypatch.setattr(watched, "_owners", {"a": "shop.test_order:1", "b": "shop.test_order:2"})
    yield call
    loop.close()


LINE = "event loop: blocked by shop.test_order:1, at shop.py:7 in run(); other async tests wait"


def test_step_of_a_second_is_logged_with_its_line(watch: Watch) -> None:
    assert watch(["a"] * 11)[0] == LINE


def test_shorter_step_is_not_logged(watch: Watch) -> None:
    assert watch(["a"] * 7) == []


def test_loop_that_has_much_to_do_is_not_blocked(watch: Watch) -> None:
    assert watch(["a", "b"] * 30) == []


def test_what_blocks_after_others_is_logged(watch: Watch) -> None:
    assert watch(["b"] * 5 + ["a"] * 11)[0] == LINE


def test_place_is_logged_once_a_minute(watch: Watch) -> None:
    for _ in range(3):
        lines = watch(["a"] * 11)
    free = "event loop: free after 1.1 s; it was blocked by shop.test_order:1, at shop.py:7 in run()"
    assert lines == [LINE, free]
    lines = watch(["b"] * 11, ", at shop.py:9 in run()")
    assert "blocked by shop.test_order:2, at shop.py:9" in lines[2]
    for _ in range(60):
        lines = watch(["a"] * 11)
    assert lines[4].startswith("event loop: blocked by shop.test_order:1, at shop.py:7")
    assert "more since the last such line" in lines[4]


def test_loop_that_stays_blocked_is_replaced_once(watch: Watch) -> None:
    lines = watch(["a"] * 250)
    assert sum("new async tests get another loop" in line for line in lines) == 1
