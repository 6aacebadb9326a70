"""Two versions of LiveCheck at once: what an earlier one sends and stores, and what it reads of this one.

The earlier version has no nonces, and marks a fake request by ``synthetic``.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from celery.app.trace import build_tracer

from livecheck_celery import Case, LiveCheck, Signal, State, current_test, is_synthetic
from livecheck_celery.context import fake_request, under_test
from livecheck_celery.models import EXECUTION, JSONText, SignalEvent, TestExecution
from livecheck_celery.propagation import celery as propagation
from livecheck_celery.propagation import outer_tests
from tests.helpers.factories import make_test

CASE = "shop.test_order"


@pytest.fixture
def case(livecheck: LiveCheck) -> Any:
    @livecheck.case(name=CASE)
    class test_order(Case):
        stored: Signal[str]

        def run(self) -> None:
            assert self.stored.wait(timeout=2) == "x"

    return test_order


def send_as_earlier_version(case: Any, test: TestExecution) -> None:
    use = replace(test, nonce="").use
    event = SignalEvent("stored", case.name, test.id, JSONText('"x"'), use=use)
    assert case.app.runtime.store.signals.send(event, ttl=60) is None, "the signal counts"


def forget_nonce(case: Any, redis_client: redis.Redis, test: TestExecution) -> TestExecution:
    """Make the record one that the earlier version has written."""
    redis_client.hdel(case.app.runtime.store.keys.test(case.name, test.id), "nonce")
    return replace(test, nonce="")


@pytest.mark.promise(
    "During an upgrade, signals of services of the earlier version count for tests of the later one, and vice versa.",
    theme="recovery",
)
@pytest.mark.parametrize("order", ["signal first", "trigger first"])
def test_signal_of_an_earlier_version_counts(case: Any, order: str) -> None:
    test = make_test("o-1", case_name=case.name, nonce="0123456789ab")
    if order == "signal first":
        send_as_earlier_version(case, test)
    test = case.app.runtime.store.executions.record(test, expires_in=60)
    if order == "trigger first":
        send_as_earlier_version(case, test)
    assert case.execute(test).state is State.PASS


def test_signal_of_this_version_counts_for_a_test_of_an_earlier_one(case: Any, redis_client: redis.Redis) -> None:
    test = forget_nonce(case, redis_client, case.trigger("o-1"))
    with under_test(EXECUTION.validate_python(test.as_message())):
        case.stored.send("x")
    case.app.flush()
    assert case.execute(test).state is State.PASS


def test_use_in_a_record_is_a_time_as_earlier_versions_read_it(case: Any, redis_client: redis.Redis) -> None:
    key = case.app.runtime.store.keys.test(case.name, "o-1")
    test = case.trigger("o-1")
    assert redis_client.hget(key, "use") == f"{test.timestamp.timestamp():.6f}"
    send_as_earlier_version(case, test)
    case.execute(test)
    assert redis_client.hmget(key, "use", "nonce") == [f"{test.timestamp.timestamp():.6f}", test.nonce]


def test_execution_of_a_fake_request_of_an_earlier_version_is_synthetic() -> None:
    message = {name: value for name, value in make_test("o-1").as_message().items() if name not in ("mark", "nonce")}
    found = EXECUTION.validate_python({**message, "synthetic": True})
    assert found.synthetic
    assert found.mark is not None
    assert (found.mark.case_name, found.mark.expires) == (found.case_name, found.expires)
    assert not EXECUTION.validate_python({**message, "synthetic": False}).synthetic


@pytest.mark.parametrize("carried", ["test", "mark"])
def test_task_of_a_fake_request_of_an_earlier_version_is_synthetic(case: Any, carried: str) -> None:
    @case.app.app.task(shared=False)
    def ask() -> tuple[bool, bool]:
        return is_synthetic(), current_test() is not None

    test = make_test("o-1", case_name=case.name)
    headers = {**test.as_headers(), "LiveCheck-Test-Synthetic": "1"}
    if carried == "mark":
        del headers["LiveCheck-Test-Id"]
    assert ask_with(ask, headers) == (True, carried == "test")
    assert ask_with(ask, {**headers, "LiveCheck-Test-Synthetic": "0"}) == (False, carried == "test")


@pytest.mark.parametrize("has_test", [True, False])
def test_message_of_a_fake_request_is_synthetic_for_an_earlier_version(case: Any, has_test: bool) -> None:
    """It reads the header with 1, of a test or beside the name and the expiry."""
    headers: dict[str, Any] = {}
    with fake_request(case.name), under_test(make_test("o-1", case_name=case.name)) if has_test else nullcontext():
        propagation._add_headers("shop.store", headers)
    assert headers["LiveCheck-Test-Synthetic"] == "1"
    assert headers["LiveCheck-Test-Name"] == case.name
    assert datetime.fromisoformat(headers["LiveCheck-Test-Expires"]) > datetime.now(UTC)
    assert ("LiveCheck-Test-Id" in headers) is has_test


def test_message_outside_a_fake_request_is_not_synthetic_for_an_earlier_version(case: Any) -> None:
    headers: dict[str, Any] = {}
    with under_test(make_test("o-1", case_name=case.name)):
        propagation._add_headers("shop.store", headers)
    assert "LiveCheck-Test-Synthetic" not in headers


def ask_with(task: Any, headers: dict[str, str]) -> Any:
    """Run a task as a worker does that received it with these headers."""
    request = {"id": "t", "is_eager": False, "called_directly": False, "headers": headers, **headers}
    return build_tracer(task.name, task, app=task.app)("t", (), {}, request).retval


def test_outer_test_of_an_earlier_version_is_read() -> None:
    test = make_test("o-1")
    packed = outer_tests.pack([replace(test, nonce=True)])  # type: ignore[arg-type] # synthetic, in its place
    assert [found.id for found in outer_tests.unpack(packed)] == ["o-1"]
