"""Signals, from `send()` to `wait()`, on a real server."""

from __future__ import annotations

import math
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import redis

from livecheck_celery import Case, LiveCheck, LiveCheckTestTimeout, SignalEvent, State, TestRunner, UnknownSignal
from livecheck_celery.models import JSONText
from tests.helpers.order_case import declare, execute, reports
from tests.helpers.plain_asserts import wrong_side


def test_signal_sent_before_the_wait_is_received(livecheck: LiveCheck) -> None:
    case = declare(livecheck, wait_for_both)
    test = case.trigger("o-1")
    case.sent.send(7, key="o-1", force=True)
    case.done.send("yes", key="o-1", force=True)
    assert livecheck.runtime.outbox.flush()
    runner = case.execute(test)
    assert runner.state is State.PASS, runner.error
    assert list(runner.signal_latency) == ["sent", "done"]
    assert all(0 <= seconds < 0.1 for seconds in runner.signal_latency.values())
    assert list(runner.signal_since_trigger) == ["sent", "done"]
    assert 0 < runner.signal_since_trigger["sent"] <= runner.signal_since_trigger["done"]


@pytest.mark.promise("A signal that arrives before its test is not lost.", theme="signals")
def test_signal_sent_before_the_trigger_is_received(livecheck: LiveCheck) -> None:
    case = declare(livecheck, wait_for_both)
    case.sent.send(7, key="o-1", force=True)
    case.done.send("yes", key="o-1", force=True)
    assert livecheck.runtime.outbox.flush()
    runner = case.execute(case.trigger("o-1"))
    assert runner.state is State.PASS, runner.error
    assert runner.signal_since_trigger == {"sent": 0.0, "done": 0.0}


def wait_for_both(case: Case) -> None:
    assert case.sent.wait(timeout=5) == 7
    assert case.done.wait(timeout=5) == "yes"


@pytest.mark.parametrize("key", [42, uuid.UUID(int=1)])
def test_key_of_a_wait_is_converted_to_text_as_that_of_a_send(livecheck: LiveCheck, key: object) -> None:
    def run(self: Case) -> None:
        assert self.sent.wait(key=key, timeout=5) == 7
        assert self.done.wait(key="", timeout=5) == "own"

    case = declare(livecheck, run)
    case.sent.send(7, key=key, force=True)
    case.done.send("own", key="o-1", force=True)
    assert livecheck.runtime.outbox.flush()
    runner = execute(case)
    assert runner.state is State.PASS, runner.error
    case.resolve_signal(key, SignalEvent("sent", case.name, "ignored", 8))
    assert case.app.runtime.store.signals.listen(case.name, str(key), "here", ttl=5.0)["sent"].value == "8"


def execute_and_send(case: Case, waiting: threading.Event) -> TestRunner:
    """Execute a test that passes, and send it a signal when it is ``waiting``."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(execute, case)
        assert waiting.wait(10)
        case.sent.send(7, key="o-1", force=True)
        runner = future.result(10)
    assert runner.state is State.PASS, runner.error
    return runner


def test_signal_wakes_a_waiting_test(livecheck: LiveCheck) -> None:
    waiting = threading.Event()

    def run(self: Case) -> None:
        waiting.set()
        assert self.sent.wait(timeout=10) == 7

    runner = execute_and_send(declare(livecheck, run), waiting)
    # Below the 2 s after which the backstop reads it.
    assert runner.signal_latency["sent"] < 1.5


def test_coroutine_awaits_a_signal(livecheck: LiveCheck) -> None:
    waiting = threading.Event()

    async def run(self: Case) -> None:
        waiting.set()
        assert await self.sent.wait(timeout=10) == 7

    execute_and_send(declare(livecheck, run), waiting)


@pytest.mark.promise("`wait()` ends at its one deadline, however often it is woken.", theme="signals")
@pytest.mark.parametrize("is_async", [False, True])
def test_wait_ends_at_its_deadline_despite_wakeups(livecheck: LiveCheck, is_async: bool) -> None:
    durations: list[float] = []

    def run(self: Case) -> None:
        started = time.monotonic()
        try:
            self.sent.wait(timeout=0.6)
        finally:
            durations.append(time.monotonic() - started)

    async def run_async(self: Case) -> None:
        started = time.monotonic()
        try:
            await self.sent.wait(timeout=0.6)
        finally:
            durations.append(time.monotonic() - started)

    case = declare(livecheck, run_async if is_async else run)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(execute, case)
        number = 0
        while not future.done():
            # Each one wakes the mailbox of the test, which waits for another signal.
            number += 1
            case.done.send(str(number), key="o-1", force=True)
            livecheck.runtime.outbox.flush()
        runner = future.result()
    assert runner.state is State.TIMEOUT
    assert number > 20
    assert durations[0] == pytest.approx(0.6, abs=0.25)


def test_timeout_names_the_missing_and_the_arrived_signals(livecheck: LiveCheck) -> None:
    def run(self: Case) -> None:
        self.sent.wait(timeout=5)
        self.done.wait(timeout=0.05)

    case = declare(livecheck, run)
    case.sent.resolve("o-1", SignalEvent("sent", case.name, "o-1", 7))
    execute(case)
    assert reports(livecheck)[0].error == ("signal done (2 of 2) did not arrive within 0.05 s; arrived so far: sent")


@pytest.mark.parametrize("timeout", [-1, math.nan, "soon", "-5s", timedelta(seconds=-1)], ids=repr)
def test_timeout_that_is_no_duration_is_named(livecheck: LiveCheck, timeout: Any) -> None:
    case = declare(livecheck, lambda self: self.sent.wait(timeout=timeout))
    execute(case)
    report = reports(livecheck)[0]
    assert report.state is State.ERROR
    assert f"wait(): timeout {timeout!r} is not a number of seconds, or '30s'" in (report.error or "")


def test_wait_without_timeout_ends_when_the_test_expires(livecheck: LiveCheck) -> None:
    case = declare(livecheck, lambda self: self.sent.wait(), test_expires=0.3)
    started = time.monotonic()
    assert execute(case).state is State.TIMEOUT
    assert time.monotonic() - started == pytest.approx(0.3, abs=0.25)


@pytest.mark.promise("A value that does not fit the signal's type is a FAIL that names the field.", theme="signals")
def test_value_of_another_type_is_a_fail_that_explains_it(livecheck: LiveCheck) -> None:
    case = declare(livecheck, lambda self: self.sent.wait(timeout=5))
    case.sent.resolve("o-1", SignalEvent("sent", case.name, "o-1", JSONText('"seven"')))
    assert execute(case).state is State.FAIL
    assert "signal sent (1 of 2): value is not of type int: Input should be a valid integer" in str(
        reports(livecheck)[0].error
    )


def test_value_that_is_not_json_fails_the_test_at_once(livecheck: LiveCheck) -> None:
    case = declare(livecheck, lambda self: self.sent.wait(timeout=30))
    case.sent.send(object(), key="o-1", force=True)
    livecheck.runtime.outbox.flush()
    assert execute(case).state is State.FAIL
    assert "signal sent (1 of 2): value cannot be sent as JSON" in str(reports(livecheck)[0].error)


def test_value_over_the_limit_fails_the_test_and_names_the_limit(redis_url: str, livecheck: LiveCheck) -> None:
    case = declare(livecheck, lambda self: self.done.wait(timeout=30))
    case.done.send("x" * (64 * 1024), key="o-1", force=True)
    livecheck.runtime.outbox.flush()
    assert execute(case).state is State.FAIL
    assert "over the limit of 65536 (livecheck_max_payload)" in str(reports(livecheck)[0].error)


def test_unreadable_signal_in_redis_fails_the_waiting_test(livecheck: LiveCheck) -> None:
    case = declare(livecheck, lambda self: self.sent.wait(timeout=30))
    key = livecheck.runtime.store.keys.signals(case.name, "o-1")
    livecheck.runtime.store.client.hset(key, "sent", "not json")
    livecheck.runtime.store.client.expire(key, 60)
    assert execute(case).state is State.FAIL
    assert "LiveCheck did not write" in str(reports(livecheck)[0].error)


def test_wait_can_name_another_test(livecheck: LiveCheck) -> None:
    case = declare(livecheck, lambda self: self.sent.wait(key="parent", timeout=5))
    case.sent.send(1, key="parent", force=True)
    livecheck.runtime.outbox.flush()
    assert execute(case).state is State.PASS


def test_wait_outside_run_is_an_error(livecheck: LiveCheck) -> None:
    case = declare(livecheck, wrong_side)
    with pytest.raises(RuntimeError, match=r"signal sent \(1 of 2\): wait\(\) works only inside run\(\)"):
        case.sent.wait(timeout=1)


def test_event_is_routed_to_the_signal_it_names(livecheck: LiveCheck) -> None:
    case = declare(livecheck, lambda self: self.sent.wait(timeout=5))
    case.resolve_signal("o-1", SignalEvent("sent", case.name, "o-1", 3))
    assert execute(case).state is State.PASS
    with pytest.raises(UnknownSignal, match="unknown signal 'sold'; choose from: sent, done"):
        case.resolve_signal("o-1", SignalEvent("sold", case.name, "o-1", 3))


def test_signal_to_another_key_is_kept_as_long_as_a_test(livecheck: LiveCheck, redis_client: redis.Redis) -> None:
    case = declare(livecheck, wait_for_both, test_expires="3h")
    case.sent.send(7, key="order-7", force=True)
    assert livecheck.runtime.outbox.flush()
    assert redis_client.ttl(livecheck.runtime.store.keys.signals(case.name, "order-7")) >= 3 * 3600


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_wait_that_timed_out_is_no_longer_awaited(livecheck: LiveCheck, is_async: bool) -> None:
    def nothing_awaited() -> None:
        assert [box.awaited() for box in livecheck.runtime.inbox._open_mailboxes()] == [[]]

    def run(self: Case) -> None:
        with pytest.raises(LiveCheckTestTimeout):
            self.sent.wait(timeout=0.01)
        nothing_awaited()

    async def run_async(self: Case) -> None:
        with pytest.raises(LiveCheckTestTimeout):
            await self.sent.wait(timeout=0.01)
        nothing_awaited()

    runner = execute(declare(livecheck, run_async if is_async else run))
    assert runner.state is State.PASS, runner.error


def test_timeout_marks_arrived_signals_that_the_case_does_not_declare(livecheck: LiveCheck) -> None:
    """As after a renaming, while a service still sends the earlier name."""

    def run(self: Case) -> None:
        self.sent.wait(timeout=5)
        self.done.wait(timeout=0.01)

    case = declare(livecheck, run)
    for name in ("sent", "old_done"):
        livecheck.runtime.store.signals.send(SignalEvent(name, case.name, "o-1", "7"), ttl=60)
    execute(case)
    [report] = reports(livecheck)
    assert report.error is not None
    assert report.error.endswith("did not arrive within 0.01 s; arrived so far: sent, old_done (not declared)")
