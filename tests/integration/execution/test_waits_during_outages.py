"""Waits during outages of Redis: a signal that was sent in time is no timeout."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from celery import Celery

from livecheck_celery import LiveCheck, SignalEvent, State
from livecheck_celery.cases.arguments import build
from tests.helpers.order_case import declare
from tests.helpers.outages import frozen_server
from tests.helpers.valkey import embedded
from tests.helpers.waiting import wait_until

MANY = 21
#: Seconds that a test waits, and those that the server is frozen.
LIMIT = 1.5
FROZEN = 2.0


@pytest.fixture
def server() -> Iterator[Any]:
    with embedded() as server:
        yield server


@pytest.fixture
def livecheck(server: Any) -> Iterator[LiveCheck]:
    livecheck = LiveCheck(Celery("shop", broker=f"{server.connection_url}/0", set_as_current=False))
    yield livecheck
    livecheck.close()


def wait_sync(self: Any) -> None:
    self.sent.wait(timeout=LIMIT)


async def wait_async(self: Any) -> None:
    await self.sent.wait(timeout=LIMIT)


@pytest.mark.promise("Time without contact to Redis does not count against the wait for a signal.", theme="signals")
@pytest.mark.parametrize("run", [wait_sync, wait_async])
def test_frozen_server_makes_no_timeouts(server: Any, livecheck: LiveCheck, run: Any) -> None:
    case: Any = declare(livecheck, run)
    inbox = livecheck.runtime.inbox
    with frozen_server(server) as (freeze, thaw), ThreadPoolExecutor(MANY) as pool:
        tests = [pool.submit(case.execute_here, build(case, f"o-{number}")) for number in range(MANY)]
        wait_until(lambda: len([box for box in inbox._open_mailboxes() if box.awaited()]) == MANY, what="all wait")
        case.sent.send(7, key="another", force=True)  # so that the server has the script
        assert livecheck.flush()
        freeze()
        for number in range(MANY):
            case.sent.send(7, key=f"o-{number}", force=True)
        threading.Event().wait(FROZEN)
        thaw()
        states = Counter(test.result(20).state for test in tests)
    assert states == {State.PASS: MANY}


def test_signal_that_is_not_sent_is_a_timeout_after_an_outage(server: Any, livecheck: LiveCheck) -> None:
    case: Any = declare(livecheck, wait_sync)
    inbox = livecheck.runtime.inbox
    with frozen_server(server) as (freeze, thaw), ThreadPoolExecutor(1) as pool:
        test = pool.submit(case.execute_here, build(case, "o-1"))
        wait_until(lambda: [box for box in inbox._open_mailboxes() if box.awaited()], what="it waits")
        began = time.monotonic()
        freeze()
        threading.Event().wait(FROZEN)
        thaw()
        runner = test.result(20)
    assert runner.state is State.TIMEOUT
    assert LIMIT + FROZEN - 1.0 < time.monotonic() - began < LIMIT + FROZEN + 3.0


def test_signal_stored_without_a_message_just_before_the_timeout_counts(server: Any, livecheck: LiveCheck) -> None:
    case: Any = declare(livecheck, lambda self: self.sent.wait(timeout=0.5))
    store, inbox = livecheck.runtime.store, livecheck.runtime.inbox
    with ThreadPoolExecutor(1) as pool, redis.Redis(port=server.port) as admin:
        test = pool.submit(case.execute_here, build(case, "o-1"))
        wait_until(lambda: [box for box in inbox._open_mailboxes() if box.awaited()], what="it waits")
        admin.hdel(store.keys.signals(case.name, "o-1"), f">{inbox.address}")  # no message is published to it
        store.signals.send(SignalEvent("sent", case.name, "o-1", "7"), ttl=60)
        assert test.result(20).state is State.PASS
