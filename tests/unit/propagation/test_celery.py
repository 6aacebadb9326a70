"""The test around a Celery task in a worker."""

from __future__ import annotations

from celery import Celery

from livecheck_celery.blocks import current_work
from livecheck_celery.context import current_test
from livecheck_celery.propagation import celery as celery_propagation
from tests.helpers.factories import make_test

TEST = make_test("o-1")


def test_thread_of_a_worker_has_no_test_after_a_task() -> None:
    @Celery("shop", set_as_current=False).task(name="orders.store")
    def task() -> None: ...

    task.push_request(id="1", headers=TEST.as_headers(), is_eager=False)
    celery_propagation._enter_task(task=task)
    assert current_test() == TEST
    assert current_work() is not None
    celery_propagation._leave_task(task=task)
    assert current_test() is None
    assert current_work() is None
