"""The outbox: its limit, the exit of the process, forks, gevent, and hosts without threads."""

from __future__ import annotations

import os
import sys
import threading
import time
from types import ModuleType
from typing import Any

import pytest
import redis

from livecheck_celery import current_test
from livecheck_celery.delivery.items import SentSignal
from tests.helpers.factories import make_sent
from tests.helpers.order_case import make_order_case
from tests.helpers.scripts import run_script
from tests.helpers.unavailable_redis import frozen, silent
from tests.helpers.waiting import wait_until


def make_item(test_id: str) -> SentSignal:
    return make_sent(key=test_id)


def test_outbox_over_its_byte_limit_drops_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livecheck_celery.delivery.outbox.MAX_BYTES", 1000)
    with frozen() as url:
        case = make_order_case(url)
        for number in range(100):
            case.sent.send("x" * 50, key=f"o-{number}", force=True)
        assert case.app.runtime.outbox.dropped > 50


def test_batches_share_one_client_of_the_broker(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case, made = make_order_case(redis_url), []
    make = redis.Redis.__init__

    def count(self: Any, *args: Any, **kwargs: Any) -> None:
        made.append(self)
        make(self, *args, **kwargs)

    for number in range(3):
        with case.maybe_trigger(f"o-{number}"):
            case.sent.send("x")
        assert case.app.runtime.outbox.flush()
        monkeypatch.setattr(redis.Redis, "__init__", count)  # all connections are open
    assert made == []
    with redis.Redis.from_url(redis_url) as client:
        assert client.llen("livecheck") == 3


@pytest.mark.promise("Queued items are delivered when the process exits.", theme="requests")
def test_queued_items_are_sent_at_process_exit(redis_url: str) -> None:
    script = (
        "from celery import Celery\n"
        "from livecheck_celery import LiveCheck, Signal\n"
        f"livecheck = LiveCheck(Celery('shop', broker={redis_url!r}, set_as_current=False))\n"
        "case = livecheck.case(name='c', probability=1)(type('c', (), {'__annotations__': {'sent': Signal[str]}}))\n"
        "for n in range(100):\n"
        "    with case.maybe_trigger(str(n)):\n"
        "        case.sent.send('x')\n"
    )
    run_script(script)
    with redis.Redis.from_url(redis_url) as client:
        assert client.zcard("livecheck:{c}:open") == 100
        assert client.llen("livecheck") == 100


@pytest.mark.promise("The exit of a process waits at most 2 s for the outbox.", theme="requests")
def test_process_exits_within_seconds_when_redis_is_silent() -> None:
    with silent() as url:
        script = (
            "import time\n"
            "from celery import Celery\n"
            "from livecheck_celery import LiveCheck\n"
            f"livecheck = LiveCheck(Celery('shop', broker={url!r}, set_as_current=False))\n"
            "case = livecheck.case(name='c', probability=1)(type('c', (), {}))\n"
            "for n in range(9000): case.maybe_trigger(str(n)).__enter__()\n"
            "print(time.monotonic())\n"  # from here on, the process exits
        )
        began_to_exit = float(run_script(script).stdout)
        assert time.monotonic() - began_to_exit < 10


@pytest.mark.promise("A forked child has its own outbox.", theme="requests")
def test_forked_child_has_its_own_outbox(redis_url: str) -> None:
    case = make_order_case(redis_url)
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


@pytest.mark.promise("Where no thread can be started, the calling thread delivers.", theme="requests")
def test_caller_sends_when_no_thread_can_be_started(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: Any) -> None:
        raise RuntimeError("can't start new thread")

    case = make_order_case(redis_url)
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
        what="a running thread",
    )
    assert case.app.flush()


def test_outage_without_threads_does_not_delay_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threading.Thread.start", lambda _: (_ for _ in ()).throw(RuntimeError("no threads")))
    with silent() as url:
        case = make_order_case(url)
        started = time.monotonic()
        for number in range(300):
            with case.maybe_trigger(f"o-{number}") as test:
                assert test is not None
                case.sent.send("x")
        assert time.monotonic() - started < 5.0
        assert case.app.runtime.outbox.dropped == 600


def test_close_sends_queued_items_and_ends_the_thread(redis_url: str) -> None:
    case = make_order_case(redis_url)
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
    assert case.app.flush(), "it can be used again"
    assert case.app.runtime.outbox.sent == 3
    case.app.close()


GREENLETS = """
import gevent.monkey
gevent.monkey.patch_all()
import gevent
from celery import Celery
from livecheck_celery import Case, LiveCheck, Signal, current_test

livecheck = LiveCheck(Celery("shop", broker={url!r}, set_as_current=False))

@livecheck.case(name="c", probability=1.0)
class case(Case):
    sent: Signal[str]

def request(number):
    with case.maybe_trigger(f"o-{{number}}"):
        gevent.sleep(0)
        assert current_test().id == f"o-{{number}}"
        case.sent.send(current_test().id)

requests = [gevent.spawn(request, number) for number in range(100)]
gevent.joinall(requests, raise_error=True, timeout=20)
assert livecheck.flush(20), livecheck.runtime.outbox.counts
print(livecheck.runtime.outbox.sent, dict(livecheck.runtime.outbox.counts))
"""


@pytest.mark.promise("Under gevent, greenlets share the outbox, and each has its own test.", theme="requests")
def test_greenlets_share_the_outbox_and_keep_their_own_tests(redis_url: str) -> None:
    script = GREENLETS.format(url=redis_url)
    assert run_script(script).stdout == "200 {}\n"
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        assert client.llen("livecheck") == 100
        assert '"value":"\\"o-7\\""' in str(client.hget("livecheck:{c}:signals:o-7", "sent"))


@pytest.mark.parametrize(("options", "in_a_thread"), [({}, False), ({"enable-threads": True}, True)])
def test_uwsgi_has_an_outbox_thread_only_with_enable_threads(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], in_a_thread: bool
) -> None:
    uwsgi = ModuleType("uwsgi")
    uwsgi.opt = options
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    case = make_order_case(redis_url)
    with case.maybe_trigger("o-1"):
        case.sent.send("x")
    assert case.app.runtime.outbox.running is in_a_thread
    assert in_a_thread or case.app.runtime.outbox.sent == 2, "sent by the caller"
    assert case.app.flush()
    case.app.close()


def test_forked_children_send_their_own_items(redis_url: str, redis_client: redis.Redis) -> None:
    case = make_order_case(redis_url)
    with case.maybe_trigger("parent"):
        pass  # starts the thread and connects, before the fork
    assert case.app.flush()
    children = []
    for number in range(4):
        pid = os.fork()
        if pid == 0:
            with case.maybe_trigger(f"child-{number}"):
                case.sent.send("x")
            os._exit(0 if case.app.flush(10) and case.app.runtime.outbox.dropped == 0 else 1)
        children.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 4
    with case.maybe_trigger("parent again"):
        pass
    wait_until(lambda: redis_client.llen("livecheck") == 6)
    case.app.close()
