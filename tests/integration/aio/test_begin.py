"""Tests that a worker begins on the event loop when it receives their messages."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery.app.task import Context

from livecheck_celery import State, aio
from livecheck_celery.blocks import Work, current_work
from livecheck_celery.delivery.publisher import CASE_KEYWORD, TEST_KEYWORD
from livecheck_celery.tasks.handlers import Tasks
from tests.helpers.livecheck_client import reports_of
from tests.helpers.waiting import wait_until


@pytest.fixture
def case(livecheck: aio.LiveCheck) -> Any:
    class Order(aio.Case):
        found: Any = None

        async def run(self, *_: Any) -> None:
            self.found = current_work()

    return livecheck.add_case(Order, name="order")


def message(case: Any, *args: Any, **carried: Any) -> Any:
    """Return what a worker has received."""
    context = Context(id="task-1", args=list(args), kwargs={CASE_KEYWORD: case.name, **carried})
    return SimpleNamespace(context=lambda: context)


def test_recorded_test_begins(case: Any) -> None:
    test = case.trigger.record_and_publish("o-1", (), {})
    assert Tasks([case.app]).begin(message(case, **{TEST_KEYWORD: test.as_message()}))
    [report] = wait_until(lambda: reports_of(case), what="the verdict")
    assert report.state is State.PASS


def test_test_begins_in_a_context_of_its_own(case: Any) -> None:
    test = case.trigger.record_and_publish("o-1", (), {})
    with Work():
        assert Tasks([case.app]).begin(message(case, **{TEST_KEYWORD: test.as_message()}))
    wait_until(lambda: reports_of(case), what="the verdict")
    assert case.found is None


@pytest.mark.parametrize("carried", [{}, {TEST_KEYWORD: "text"}, {TEST_KEYWORD: {"id": 7}}])
def test_other_messages_are_left_to_the_task(case: Any, carried: dict[str, Any]) -> None:
    """That of a chain carries no test; Celery's signals, which only the task has, bring its mark."""
    assert not Tasks([case.app]).begin(message(case, "o-1", **carried))


def test_unknown_case_is_left_to_the_task(case: Any) -> None:
    assert not Tasks([case.app]).begin(message(SimpleNamespace(name="unknown")))
