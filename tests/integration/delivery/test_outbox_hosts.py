"""The outbox where threads are not what they are elsewhere: under gevent, in uWSGI, in children of a fork."""

from __future__ import annotations

import os
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest
import redis
from celery import Celery

from livecheck_celery import Case, LiveCheck, Signal
from tests.helpers.waiting import wait_until

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


def make(url: str) -> Any:
    livecheck = LiveCheck(Celery("shop", broker=url, set_as_current=False))

    @livecheck.case(name="c", probability=1.0)
    class test_order(Case):
        sent: Signal[str]

    return test_order


@pytest.mark.promise("Under gevent, greenlets share the outbox and keep to their own tests.", theme="requests")
def test_greenlets_share_it_and_keep_to_their_own_tests(redis_url: str) -> None:
    script = GREENLETS.format(url=redis_url)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.returncode) == ("200 {}\n", 0), done.stderr
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        assert client.llen("livecheck") == 100
        assert '"value":"\\"o-7\\""' in str(client.hget("livecheck:{c}:signals:o-7", "sent"))


@pytest.mark.parametrize(("options", "in_a_thread"), [({}, False), ({"enable-threads": True}, True)])
def test_in_uwsgi_it_has_a_thread_only_where_threads_run(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], in_a_thread: bool
) -> None:
    uwsgi = ModuleType("uwsgi")
    uwsgi.opt = options  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    case = make(redis_url)
    with case.maybe_trigger("o-1"):
        case.sent.send("x")
    assert case.app.runtime.outbox.running is in_a_thread
    assert in_a_thread or case.app.runtime.outbox.sent == 2, "sent by the caller"
    assert case.app.flush()
    case.app.close()


def test_children_of_one_parent_send_what_is_theirs(redis_url: str, redis_client: redis.Redis) -> None:
    case = make(redis_url)
    with case.maybe_trigger("parent"):
        pass  # so that there is a thread, and a connection, to be lost in the fork
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
