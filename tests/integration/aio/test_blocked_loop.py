"""A coroutine that blocks the event loop decides nothing about other tests."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from livecheck_celery import SignalEvent, State, aio
from livecheck_celery.cases.arguments import build
from tests.helpers.waiting import wait_until

#: Seconds that the waiting test waits; the signal that is in time is sent well within them.
LIMIT = 2.0


@pytest.mark.promise(
    "A coroutine that blocks the event loop is named with its line; the timeouts of other tests are judged by when "
    "their signals arrived.",
    theme="aio",
)
@pytest.mark.parametrize(("is_late", "state"), [(False, State.PASS), (True, State.TIMEOUT)])
def test_arrival_decides_the_timeout_of_a_test_on_a_blocked_loop(
    livecheck: aio.LiveCheck, is_late: bool, state: State, caplog: pytest.LogCaptureFixture
) -> None:
    blocked, free, waits = threading.Event(), threading.Event(), list[float]()

    class test_waiting(aio.Case):
        sent: aio.Signal[int]

        async def run(self) -> None:
            waits.append(time.monotonic())
            assert await self.sent.wait(timeout=LIMIT) == 7

    class test_blocking(aio.Case):
        async def run(self) -> None:
            blocked.set()
            free.wait(20)

    waiting: Any = livecheck.add_case(test_waiting, name="shop.waiting")
    blocking: Any = livecheck.add_case(test_blocking, name="shop.blocking")
    store = livecheck.runtime.store
    with ThreadPoolExecutor(2) as pool:
        test = pool.submit(waiting.execute_here, build(waiting, "o-1"))
        wait_until(lambda: waits)
        other = pool.submit(blocking.execute_here, build(blocking, "o-2"))
        assert blocked.wait(10)
        over = waits[0] + LIMIT
        if is_late:
            wait_until(lambda: time.monotonic() > over + 0.5, what="the wait is over")
        store.signals.send(SignalEvent("sent", waiting.name, "o-1", "7"), ttl=60)
        wait_until(lambda: time.monotonic() > over + 0.5, what="the wait is over")
        wait_until(lambda: "event loop: blocked by shop.blocking:o-2, at " in caplog.text, what="it is named")
        free.set()
        assert (test.result(20).state, other.result(20).state) == (state, State.PASS)
    assert f"{__file__}:{test_blocking.run.__code__.co_firstlineno + 2} in run(): free.wait(20)" in caplog.text
