"""Celery calls receivers at the end of tasks that are part of a test, or trigger one, and of no others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any
from weakref import ref

import pytest
from celery import Celery
from celery.app.trace import build_tracer
from celery.signals import before_task_publish, task_failure, task_postrun, task_prerun, task_success

from livecheck_celery import LiveCheck, blocks, current_test, is_synthetic
from livecheck_celery.blocks import Block, current_work
from livecheck_celery.context import collect, fake_request, under_test
from livecheck_celery.models import TestExecution
from livecheck_celery.propagation import celery as celery_propagation
from livecheck_celery.propagation.followed_tasks import MAX_UNUSED
from livecheck_celery.propagation.headers import outgoing
from livecheck_celery.propagation.sources import SourceIndex
from tests.helpers.factories import make_test

TEST = make_test("o-1")
OF_THE_END = (task_success, task_failure, task_postrun)

Finished = tuple[str, list[str], str | None]


class Listener:
    """Notes the tasks that finished, the ids of their tests, and their error."""

    def __init__(self) -> None:
        self.finished: list[Finished] = []

    def listens_to(self, kind: str, name: str) -> bool:
        """Listen to all tasks."""
        return True

    def count_ignored(self, reason: str) -> None:
        """Not counted."""

    def operation_finished(
        self, kind: str, name: str, tests: list[TestExecution], *, value: Any = None, error: str | None = None
    ) -> None:
        """Note the operation."""
        self.finished.append((name, [test.id for test in tests], error))


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    celery_propagation.connect()
    monkeypatch.setattr(celery_propagation._followed, "_always", False)
    listener: Any = Listener()
    celery_propagation.add_listener(listener)
    for _ in range(MAX_UNUSED + 1):  # earlier tests of this process can have followed a task
        task_postrun.send(sender=None, task=make_task())
    yield listener
    celery_propagation.remove_listener(listener)


def make_task(work: Callable[[], object] = lambda: None, name: str = "orders.store") -> Any:
    def task() -> object:
        return work()

    app = Celery("shop", backend="disabled://", set_as_current=False)
    return app.task(name=name, shared=False)(task)._get_current_object()


def run(work: Callable[[], object] = lambda: None, headers: dict[str, str] | None = None, **fields: Any) -> None:
    """Run a task as a worker does."""
    task = make_task(work)
    request = {"id": "1", "delivery_info": {}, "ignore_result": True, **(headers or {}), **fields}
    build_tracer(task.name, task, app=task.app)("1", (), {}, request)


def count_of_receivers() -> list[int]:
    return [len(signal.receivers) for signal in OF_THE_END]


def test_task_without_a_test_has_one_receiver(listener: Any) -> None:
    assert len(task_prerun.receivers) == len(before_task_publish.receivers) == 1
    for _ in range(2):
        run()
        assert count_of_receivers() == [0, 0, 0]
    assert listener.finished == []


def test_task_with_a_test_is_followed_to_its_end(listener: Any) -> None:
    during: list[Any] = []
    run(lambda: during.append((count_of_receivers(), current_test())), TEST.as_headers())
    assert during == [([1, 1, 1], TEST)]
    assert (current_test(), current_work()) == (None, None)
    assert listener.finished == [("orders.store", ["o-1"], None)]


def test_receivers_are_disconnected_after_some_tasks_without_a_test(listener: Any) -> None:
    run(headers=TEST.as_headers())
    for _ in range(MAX_UNUSED):
        run()
        assert count_of_receivers() == [1, 1, 1]
    run()
    assert count_of_receivers() == [0, 0, 0]
    run(headers=TEST.as_headers())
    assert len(listener.finished) == 2


def test_listeners_are_not_asked_about_a_task_without_a_test(listener: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run(headers=TEST.as_headers())
    monkeypatch.setattr(listener, "listens_to", lambda *_: pytest.fail("the task has no test"))
    run()
    assert count_of_receivers() == [1, 1, 1]
    assert len(listener.finished) == 1


def test_receivers_stay_connected_while_a_task_with_a_test_runs(listener: Any) -> None:
    def work() -> None:
        for _ in range(2 * MAX_UNUSED):
            copy_context().run(run)
        assert count_of_receivers() == [1, 1, 1]

    run(work, TEST.as_headers())
    assert listener.finished == [("orders.store", ["o-1"], None)]


def test_task_that_triggers_a_test_is_followed_from_then_on(listener: Any) -> None:
    def work() -> None:
        assert count_of_receivers() == [0, 0, 0]
        collect(TEST)

    run(work)
    assert listener.finished == [("orders.store", ["o-1"], None)]
    assert current_work() is None


def test_task_that_triggers_in_a_copy_of_its_context_is_followed(listener: Any) -> None:
    run(lambda: copy_context().run(collect, TEST))
    assert listener.finished == [("orders.store", ["o-1"], None)]


def test_tests_of_a_task_that_nobody_listens_to_are_not_looked_for(
    listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(celery_propagation, "operation_tests", lambda **_: pytest.fail("no source"))
    monkeypatch.setattr(listener, "listens_to", lambda kind, name: (kind, name) != ("task", "orders.store"))
    run(headers=TEST.as_headers())
    assert listener.finished == []


def test_livecheck_listens_to_all_tasks_until_it_knows_the_sources() -> None:
    livecheck = LiveCheck(Celery("shop", broker="redis://localhost:1/0", set_as_current=False))
    assert livecheck.listens_to("task", "orders.store")
    livecheck.runtime.shared_config.sources = SourceIndex({"shop.test_order": {"stored": ("task", "orders.store")}})
    assert livecheck.listens_to("task", "orders.store")
    assert not livecheck.listens_to("task", "orders.ship")


def test_failed_task_that_triggered_reports_its_error(listener: Any) -> None:
    def work() -> None:
        collect(TEST)
        raise ValueError("no stock")

    run(work)
    assert listener.finished == [("orders.store", ["o-1"], "task orders.store raised ValueError: no stock")]


def test_eager_task_in_a_test_reports_its_outcome(listener: Any) -> None:
    task = make_task(lambda: current_test() == TEST)
    with under_test(TEST):
        assert task.apply().get() is True
    assert listener.finished == [("orders.store", ["o-1"], None)]


def test_eager_task_that_triggers_in_the_work_of_its_caller_reports_its_outcome(listener: Any) -> None:
    run(lambda: make_task(lambda: collect(TEST), "orders.eager").apply())
    assert listener.finished == [("orders.eager", ["o-1"], None), ("orders.store", ["o-1"], None)]


def test_trigger_after_the_end_of_a_task_follows_nothing(listener: Any) -> None:
    contexts: list[Any] = []
    run(lambda: contexts.append(copy_context()))
    contexts[0].run(collect, TEST)
    run()
    assert count_of_receivers() == [0, 0, 0]
    assert listener.finished == []


def test_task_without_a_test_inherits_nothing_from_its_thread(listener: Any) -> None:
    seen: list[Any] = []

    def work() -> None:
        seen.append((current_test(), is_synthetic(), outgoing()))

    with under_test(TEST), fake_request("shop.test_order"):
        run(work)
        assert (current_test(), is_synthetic()) == (TEST, True)
    run(work)
    assert seen == [(None, False, {})] * 2


def test_tasks_without_a_test_keep_one_block_in_their_thread(listener: Any) -> None:
    works = []
    for _ in range(3):
        run(lambda: Block().__enter__())  # never left
        opened = blocks._open.get()
        assert len(opened) == 1 + 1
        works.append(ref(opened[0]))
    run()
    assert len(blocks._open.get()) == 1
    del opened
    assert [work() for work in works] == [None, None, None]


def test_block_that_a_task_does_not_leave_ends_with_the_task(listener: Any) -> None:
    seen: list[Any] = []

    def work() -> None:
        collect(TEST)
        Block((TEST,)).__enter__()

    for headers in ({}, make_test("o-2").as_headers()):
        run(work, headers)
        assert current_test() is None
        run(lambda: Block((TEST,)).__enter__(), headers)  # as if it had been triggered elsewhere
        run(lambda: seen.append(current_test()))
    assert seen == [None, None]


def test_task_that_a_task_runs_leaves_the_blocks_of_the_outer_one(listener: Any) -> None:
    def work() -> None:
        with under_test(TEST):
            run()
            assert current_test() == TEST
        collect(TEST)

    run(work)
    assert listener.finished == [("orders.store", ["o-1"], None)]


def test_mark_ends_with_its_task(listener: Any) -> None:
    with fake_request("shop.test_order"):
        headers = outgoing()
    seen: list[bool] = []
    run(lambda: seen.append(is_synthetic()), headers)
    assert seen == [True]
    assert not is_synthetic()


def test_messages_without_a_test_are_left_alone(listener: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery_propagation, "outgoing", lambda: pytest.fail("nothing is in force"))
    headers: dict[str, Any] = {"id": "1"}
    before_task_publish.send(sender="orders.store", headers=headers)
    assert headers == {"id": "1"}


def test_each_livecheck_shares_the_receivers(listener: Any) -> None:
    for name in ("shop", "stock"):
        LiveCheck(Celery(name, broker="redis://localhost:1/0", set_as_current=False))
    assert len(task_prerun.receivers) == len(before_task_publish.receivers) == 1


def test_receivers_stay_connected_where_a_signal_replaces_its_list(
    listener: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There, the tracer of a task holds the list of the time at which it was made, and sees none that come later."""
    assert count_of_receivers() == [0, 0, 0]
    monkeypatch.setattr(celery_propagation._followed, "_always", True)
    celery_propagation.connect()
    assert count_of_receivers() == [1, 1, 1]
    for _ in range(2 * MAX_UNUSED):
        run()
    assert count_of_receivers() == [1, 1, 1]
    run(headers=TEST.as_headers())
    assert len(listener.finished) == 1
