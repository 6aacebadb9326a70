"""Redis or the broker refuses, is silent, or freezes: who asks inline is told, and processes start, fork and end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import redis
from celery import Celery

from livecheck_celery import (
    BrokerUnavailable,
    Case,
    DuplicateTest,
    InvalidPayload,
    LiveCheck,
    RedisUnavailable,
    Signal,
    current_test,
)
from livecheck_celery.delivery.items import SentSignal
from tests.helpers.factories import make_signal
from tests.helpers.valkey import embedded
from tests.helpers.waiting import wait_until

WITHIN_A_SECOND = 1.0


@contextmanager
def refusing() -> Iterator[str]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"redis://127.0.0.1:{taken.getsockname()[1]}/0"


@contextmanager
def silent() -> Iterator[str]:
    """A server that never accepts, its backlog full: connecting takes for ever, as through a firewall that drops."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


@contextmanager
def frozen() -> Iterator[str]:
    """A server that accepts and never answers."""
    with embedded() as server:
        process: Any = server._process
        os.kill(process.pid, signal.SIGSTOP)
        try:
            yield f"{server.connection_url}/0"
        finally:
            os.kill(process.pid, signal.SIGCONT)


OUTAGES: list[Callable[[], Any]] = [refusing, silent, frozen]


def make(url: str, **options: Any) -> Any:
    livecheck = LiveCheck(Celery("shop", broker=url, set_as_current=False), **options)

    @livecheck.case(name="shop.test_order", probability=1.0)
    class test_order(Case):
        sent: Signal[str]

    return test_order


def make_item(test_id: str) -> SentSignal:
    return SentSignal(make_signal(key=test_id), 60.0)


@pytest.mark.promise(
    "`trigger()`, `.delay()` and `.apply_async()` raise a LiveCheck error within a second when Redis is unavailable.",
    theme="requests",
)
@pytest.mark.parametrize("outage", OUTAGES)
def test_who_asks_inline_is_told_within_a_second(outage: Any) -> None:
    with outage() as url:
        case = make(url)
        for ask in (case.trigger, case.trigger.delay, lambda: case.trigger.apply_async(("id",), countdown=3)):
            started = time.monotonic()
            with pytest.raises(RedisUnavailable) as caught:
                ask()
            assert time.monotonic() - started < WITHIN_A_SECOND
            assert "\n" not in str(caught.value)
            assert url.partition("@")[2] or url.rpartition("/")[0] in str(caught.value)


@pytest.mark.promise(
    "`trigger()`, `.delay()` and `.apply_async()` raise a LiveCheck error within a second when the broker is "
    "unavailable.",
    theme="requests",
)
@pytest.mark.parametrize("outage", OUTAGES)
def test_a_broker_that_is_away_is_told_within_a_second(outage: Any, redis_url: str) -> None:
    with outage() as url:
        case = make(url, redis_url=redis_url)
        started = time.monotonic()
        with pytest.raises(BrokerUnavailable, match="is it running, and is broker_url right"):
            case.trigger("o-1")
        assert time.monotonic() - started < WITHIN_A_SECOND
        assert case.app.runtime.store.client.zcard(case.app.runtime.store.keys.open(case.name)) == 1, (
            "recorded, for recovery to send"
        )


def test_an_outbox_that_is_full_drops_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livecheck_celery.delivery.outbox.MAX_BYTES", 1000)
    with frozen() as url:
        case = make(url)
        for number in range(100):
            case.sent.send("x" * 50, key=f"o-{number}", force=True)
        assert case.app.runtime.outbox.dropped > 50


@pytest.mark.promise("Queued items are delivered when the process exits.", theme="requests")
def test_what_waits_is_sent_when_the_process_ends(redis_url: str) -> None:
    script = (
        "from celery import Celery\n"
        "from livecheck_celery import LiveCheck, Signal\n"
        f"livecheck = LiveCheck(Celery('shop', broker={redis_url!r}, set_as_current=False))\n"
        "case = livecheck.case(name='c', probability=1)(type('c', (), {'__annotations__': {'sent': Signal[str]}}))\n"
        "for n in range(100):\n"
        "    with case.maybe_trigger(str(n)):\n"
        "        case.sent.send('x')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    with redis.Redis.from_url(redis_url) as client:
        assert client.zcard("livecheck:{c}:open") == 100
        assert client.llen("livecheck") == 100


@pytest.mark.promise("The exit of a process waits at most 2 s for the outbox.", theme="requests")
def test_a_process_ends_within_seconds_though_redis_is_silent() -> None:
    with silent() as url:
        script = (
            "from celery import Celery\n"
            "from livecheck_celery import LiveCheck\n"
            f"livecheck = LiveCheck(Celery('shop', broker={url!r}, set_as_current=False))\n"
            "case = livecheck.case(name='c', probability=1)(type('c', (), {}))\n"
            "for n in range(9000): case.maybe_trigger(str(n)).__enter__()\n"
        )
        started = time.monotonic()
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        assert time.monotonic() - started < 10


@pytest.mark.promise("A forked child has its own outbox.", theme="requests")
def test_a_forked_child_has_an_outbox_of_its_own(redis_url: str) -> None:
    case = make(redis_url)
    with case.maybe_trigger("parent"):
        pass
    assert case.app.runtime.outbox.flush()
    child = os.fork()
    if child == 0:
        ok = 1
        try:
            with case.maybe_trigger("child"):
                case.sent.send("x")
            ok = 0 if case.app.runtime.outbox.flush(5) else 1
        finally:
            os._exit(ok)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert case.app.runtime.store.client.exists(case.app.runtime.store.keys.test(case.name, "child"))
    assert case.app.runtime.store.client.exists(case.app.runtime.store.keys.signals(case.name, "child"))


def test_a_broker_of_an_unknown_kind_is_an_error_in_words(redis_url: str) -> None:
    case = make("nosuch://host/", redis_url=redis_url)
    with pytest.raises(BrokerUnavailable, match="broker_url: unsupported kind of broker: .*nosuch"):
        case.trigger("o-1")


# -- and where nothing is wrong with the servers


def test_the_same_id_is_asked_for_once_until_it_has_its_verdict(redis_url: str) -> None:
    case = make(redis_url)
    case.trigger("o-1")
    with pytest.raises(DuplicateTest, match="o-1"):
        case.trigger("o-1")
    with case.maybe_trigger("o-1"):
        pass
    case.app.runtime.outbox.flush()
    assert case.app.runtime.outbox.dropped == 1
    assert case.app.runtime.store.client.llen("livecheck") == 1


def test_arguments_that_are_no_json_are_said_inline_and_dropped_in_a_request(redis_url: str) -> None:
    case = make(redis_url)
    with pytest.raises(InvalidPayload, match="must be JSON"):
        case.trigger("o-1", object())
    with case.maybe_trigger("o-1", object()) as test:
        assert test is None
        assert current_test() is None
    assert case.app.runtime.outbox.dropped == 1


def test_arguments_over_the_limit_are_said_inline_and_dropped_in_a_request(redis_url: str) -> None:
    case = make(redis_url, max_payload=1000)
    with pytest.raises(InvalidPayload, match=r"over the limit of 1000 \(livecheck_max_payload\)"):
        case.trigger("o-1", "x" * 1000)
    with case.maybe_trigger("o-1", "x" * 1000) as test:
        assert test is None
    assert case.app.runtime.outbox.dropped == 1


@pytest.mark.parametrize("options", [{"probability": 0.0}, {"active": False}])
def test_nothing_is_triggered_by_chance_zero_or_an_inactive_case(redis_url: str, options: dict[str, Any]) -> None:
    livecheck = LiveCheck(Celery("shop", broker=redis_url, set_as_current=False))
    case = livecheck.case(name="c", **options)(type("c", (), {}))
    for _ in range(50):
        with case.maybe_trigger() as test:
            assert test is None
    assert livecheck.runtime.outbox.sent == livecheck.runtime.outbox.dropped == 0


def test_nothing_is_triggered_or_sent_when_switched_off(redis_url: str) -> None:
    case = make(redis_url, enabled=False)
    with case.maybe_trigger() as test:
        assert test is None
        case.sent.send("x", key="k", force=True)
    assert case.app.runtime.outbox.flush()
    assert case.app.runtime.outbox.sent == 0


async def enter(case: Any) -> Any:
    async with case.maybe_trigger("o-1") as test:
        return test, current_test()


def test_maybe_trigger_works_with_async_with(redis_url: str) -> None:
    import asyncio

    case = make(redis_url)
    test, current = asyncio.run(enter(case))
    assert test is current
    assert test.id == "o-1"
    assert current_test() is None


def test_the_request_keeps_its_own_errors(redis_url: str) -> None:
    case = make(redis_url)
    with pytest.raises(ZeroDivisionError), case.maybe_trigger("o-1"):
        _ = 1 / 0
    assert current_test() is None


def test_half_a_surrogate_pair_is_dropped_alone(redis_url: str) -> None:
    case = make(redis_url)
    with pytest.raises(InvalidPayload):
        case.trigger("\ud800")
    with case.maybe_trigger("\ud800") as test:
        assert test is None
    case.sent.send("x", key="\ud800", force=True)
    case.sent.send("x", key="whole", force=True)
    assert case.app.runtime.outbox.flush()
    assert (case.app.runtime.outbox.sent, case.app.runtime.outbox.dropped) == (1, 2)


def test_a_request_survives_a_redis_url_that_is_none(redis_url: str) -> None:
    case = make(redis_url, redis_url="redis://localhost:port/0")
    with case.maybe_trigger("o-1") as test:
        assert test is None
    case.sent.send("x", key="o-1", force=True)
    assert current_test() is None
    assert case.app.gate.accept([("LiveCheck-Test-Id", "forged")]).test is None


@pytest.mark.promise("Where no thread can be started, the calling thread delivers.", theme="requests")
def test_where_no_thread_can_be_started_the_caller_sends(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: Any) -> None:
        raise RuntimeError("can't start new thread")

    case = make(redis_url)
    monkeypatch.setattr("threading.Thread.start", start)
    with case.maybe_trigger("o-1") as test:
        assert current_test() is test is not None
        case.sent.send("x")
    assert case.app.runtime.outbox.sent == 2
    assert case.app.runtime.store.client.hget(case.app.runtime.store.keys.signals(case.name, "o-1"), "sent")
    assert case.app.runtime.store.client.llen("livecheck") == 1
    monkeypatch.undo()
    monkeypatch.setattr("livecheck_celery.delivery.outbox._RETRY_AFTER", 0.0)
    wait_until(
        lambda: case.app.runtime.outbox.put(make_item("o-2")) and case.app.runtime.outbox.running,
        what="a thread runs again",
    )
    assert case.app.flush()


def test_without_threads_an_outage_costs_one_short_wait_and_not_one_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threading.Thread.start", lambda _: (_ for _ in ()).throw(RuntimeError("no threads")))
    with silent() as url:
        case = make(url)
        started = time.monotonic()
        for number in range(300):
            with case.maybe_trigger(f"o-{number}") as test:
                assert test is not None
                case.sent.send("x")
        assert time.monotonic() - started < 5 * WITHIN_A_SECOND
        assert case.app.runtime.outbox.dropped == 600


def test_a_livecheck_that_is_closed_leaves_no_thread_and_what_waits_is_sent(redis_url: str) -> None:
    case = make(redis_url)
    others = set(threading.enumerate())
    with case.maybe_trigger("o-1"):
        case.sent.send("x")
    [thread] = [one for one in set(threading.enumerate()) - others if one.name == "livecheck-outbox"]
    case.app.close()
    assert case.app.runtime.outbox.sent == 2
    thread.join(10)
    assert not thread.is_alive()
    with case.maybe_trigger("o-2"):
        pass
    assert case.app.flush(), "it may be used again"
    assert case.app.runtime.outbox.sent == 3
    case.app.close()
