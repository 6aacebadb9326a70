"""The test around a Celery task in a worker."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from celery import Celery
from celery.app.task import Context

from livecheck_celery.blocks import current_work
from livecheck_celery.context import current_test, under_test
from livecheck_celery.propagation import celery as celery_propagation
from livecheck_celery.propagation.headers import NOTHING, parse
from tests.helpers.factories import make_test

TEST = make_test("o-1")


def test_thread_of_a_worker_has_no_test_after_a_task() -> None:
    @Celery("shop", set_as_current=False).task(name="orders.store", shared=False)
    def task() -> None: ...

    task.push_request(id="1", headers=TEST.as_headers(), is_eager=False)
    celery_propagation._before_task(task=task)
    assert current_test() == TEST
    assert current_work() is not None
    celery_propagation._leave_task(task=task)
    assert current_test() is None
    assert current_work() is None


def test_expired_headers_of_a_message_are_counted() -> None:
    @Celery("shop", set_as_current=False).task(name="orders.store", shared=False)
    def task() -> None: ...

    class Listener:
        counted: ClassVar[list[str]] = []

        def count_ignored(self, reason: str) -> None:
            self.counted.append(reason)

    listener: Any = Listener()
    celery_propagation.add_listener(listener)
    expired = make_test("o-2", expires=datetime.now(UTC) - timedelta(seconds=1)).as_headers()
    # Other headers are of the host: in messages of protocol 1, and of tracing tools.
    for headers in (expired, TEST.as_headers(), {}, {"sentry-trace": "1"}, None):
        task.push_request(id="1", headers=headers, is_eager=False)
        celery_propagation._before_task(task=task)
        celery_propagation._leave_task(task=task)
    celery_propagation.remove_listener(listener)
    assert listener.counted == ["expired"]


HEADERS = TEST.as_headers()
TRACE = {"sentry-trace": "1"}


@pytest.mark.parametrize(
    "received",
    [
        HEADERS | {"headers": TRACE},
        HEADERS | {"headers": make_test("stale").as_headers()},
        {"headers": HEADERS | TRACE},
        {"headers": HEADERS},
    ],
)
def test_headers_are_read_beside_those_that_a_tracer_nests(received: dict[str, Any]) -> None:
    request = Context(id="1", is_eager=False, **received)
    assert parse(celery_propagation._headers_of(request)).test == TEST


@pytest.mark.parametrize("received", [{}, {"headers": "x"}, {"headers": None}, {"headers": TRACE}])
def test_message_without_livechecks_headers_carries_nothing(received: dict[str, Any]) -> None:
    assert parse(celery_propagation._headers_of(Context(id="1", is_eager=False, **received))) == NOTHING


def test_headers_of_an_earlier_test_are_replaced_at_both_levels() -> None:
    nested = make_test("stale", synthetic=True).as_headers() | TRACE
    headers: dict[str, Any] = {**nested, "headers": nested}
    with under_test(TEST):
        celery_propagation._before_publish(sender="orders.store", headers=headers)
    assert headers == {**HEADERS, **TRACE, "headers": TRACE}
    assert nested.keys() > TRACE.keys(), "the dictionary of the caller is not changed"
