"""Two versions of LiveCheck at once: this one leaves what a newer one has written to processes of the newer one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from livecheck_celery import Case, LiveCheck, Signal, State, models
from livecheck_celery.models import EXECUTION, TestExecution
from livecheck_celery.tasks.handlers import Tasks
from livecheck_celery.tasks.recovery import revoke, sweep
from tests.helpers.factories import make_report, make_signal, make_test


@contextmanager
def newer_version() -> Iterator[None]:
    """Read and write as the next version, whose layout is unknown to this one."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(models, "LAYOUT", models.LAYOUT + 1)
        yield


@pytest.fixture
def case(livecheck: LiveCheck) -> Any:
    @livecheck.case(name="shop.test_order")
    class test_order(Case):
        stored: Signal[str]

        def run(self) -> None: ...

    return test_order


def record(case: Any, redis_client: redis.Redis, test_id: str) -> dict[str, str]:
    return redis_client.hgetall(case.app.runtime.store.keys.test(case.name, test_id))


@pytest.mark.promise(
    "During an upgrade, a worker of the earlier version leaves the tests of the later one to its workers.",
    theme="recovery",
)
def test_record_of_a_newer_version_is_left(case: Any, redis_client: redis.Redis) -> None:
    with newer_version():
        test = case.trigger("o-1")
    redis_client.delete("livecheck")
    redis_client.hset(case.app.runtime.store.keys.test(case.name, "o-1"), "payload", "not JSON, but something newer")
    before = record(case, redis_client, "o-1")
    case.app.runtime.store.executions.make_due(case.name, ["o-1"])

    assert case.execute(test).state is State.INIT, "neither claimed"
    sweep(case)
    revoke(case, test, "r")
    assert record(case, redis_client, "o-1") == before, "nor discarded, nor closed"
    assert redis_client.llen("livecheck") == 0
    assert case.total_by_state == {}

    redis_client.hset(case.app.runtime.store.keys.test(case.name, "o-1"), "payload", EXECUTION.dump_json(test))
    with newer_version():
        case.app.runtime.store.executions.make_due(case.name, ["o-1"])
        sweep(case)
        assert redis_client.llen("livecheck") == 1
        assert case.execute(test).state is State.PASS


def test_record_of_an_earlier_version_is_run(case: Any, redis_client: redis.Redis) -> None:
    test = case.trigger("o-1")
    redis_client.hdel(case.app.runtime.store.keys.test(case.name, "o-1"), "layout")  # before there were layouts
    with newer_version():
        assert case.execute(test).state is State.PASS


def test_message_without_a_layout_is_run(case: Any, redis_client: redis.Redis) -> None:
    message = {"livecheck_case": case.name, "livecheck_test": make_test("o-1").as_message()}
    assert Tasks([case.app]).execute(**message) == "PASS"


def test_signal_of_a_newer_version_is_not_misread(case: Any) -> None:
    store = case.app.runtime.store
    with newer_version():
        store.signals.send(make_signal("stored", key="o-1"), ttl=60)
    [found] = store.signals.awaited([(case.name, "o-1", ["stored"])])
    assert found["stored"].error == "signal stored was sent by a newer version of LiveCheck; upgrade this worker"
    with newer_version():
        [found] = store.signals.awaited([(case.name, "o-1", ["stored"])])
    assert found["stored"].error is None


def test_report_of_a_newer_version_is_left_out(case: Any, caplog: pytest.LogCaptureFixture) -> None:
    store = case.app.runtime.store
    with newer_version():
        store.reports.post(make_report(State.PASS, case_name=case.name))
    store.reports.post(make_report(State.FAIL, case_name=case.name))
    assert [report.state for report in store.reports.latest([case.name], count=5)] == [State.FAIL]
    assert caplog.messages == []
    with newer_version():
        assert len(store.reports.latest([case.name], count=5)) == 2


def test_headers_of_a_newer_version_carry_no_test() -> None:
    test = make_test("o-1")
    with newer_version():
        headers = test.as_headers()
        assert TestExecution.from_headers(headers) is not None
    assert TestExecution.from_headers(headers) is None
    assert TestExecution.from_headers(make_test("o-1").as_headers()) is not None


def test_everything_that_is_stored_says_its_layout(case: Any, redis_client: redis.Redis) -> None:
    case.trigger("o-1")
    case.stored.send("x", key="o-1", force=True)
    case.app.flush()
    case.app.runtime.store.reports.post(make_report(State.FAIL, case_name=case.name))
    keys = case.app.runtime.store.keys
    stored = record(case, redis_client, "o-1")
    texts = [stored["payload"], redis_client.hget(keys.signals(case.name, "o-1"), "stored")]
    texts.append(redis_client.xrange(keys.reports(case.name))[0][1]["report"])
    assert [json.loads(str(text))["layout"] for text in texts] == [models.LAYOUT] * 3
    assert stored["layout"] == str(models.LAYOUT)
