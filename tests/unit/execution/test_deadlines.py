"""Enforcement of deadlines, on tests without a runner."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from livecheck_celery import RedisUnavailable
from livecheck_celery.execution.deadlines import Deadlines
from tests.helpers.factories import make_test
from tests.helpers.waiting import wait_until


class Running:
    """A running test whose deadline has passed."""

    deadline = -10.0
    overran = False
    thread_id = -1
    test = make_test("o-1")
    case = SimpleNamespace(run=None)

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls = 0

    def overrun(self) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error
        self.overran = True


@pytest.fixture
def deadlines() -> Any:
    deadlines = Deadlines()
    yield deadlines
    deadlines.close()


def test_verdict_that_cannot_be_recorded_is_logged(deadlines: Deadlines, caplog: pytest.LogCaptureFixture) -> None:
    running: Any = Running(RedisUnavailable("refused"))
    deadlines.add(running)
    wait_until(lambda: running.calls)
    deadlines.remove(running)
    wait_until(lambda: caplog.messages)
    assert caplog.messages == ["deadlines: shop.test_order:o-1: refused"]


def test_held_slot_is_logged_without_a_line_when_the_thread_has_ended(
    deadlines: Deadlines, caplog: pytest.LogCaptureFixture
) -> None:
    running: Any = Running()
    deadlines.add(running)
    wait_until(lambda: caplog.messages)
    held = "deadlines: shop.test_order:o-1 has its verdict but still holds a slot: its run() cannot be stopped"
    assert caplog.messages == [held]
    deadlines.remove(running)
    assert caplog.messages[1:] == ["deadlines: shop.test_order:o-1: run() has returned; its slot is free again"]
