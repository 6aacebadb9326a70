"""Signals that a child process sends just before it ends: `multiprocessing` skips atexit handlers there."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import billiard
import pytest

from livecheck_celery.context import under_test
from tests.helpers.bindable import send_and_exit
from tests.helpers.factories import make_test
from tests.helpers.order_case import make_order_case

# Since Python 3.12, a fork in a process with threads warns.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

TEST = make_test("o-1", "shop.test_order")


@pytest.fixture
def case(redis_url: str) -> Any:
    case = make_order_case(redis_url)
    case.app.runtime.store.executions.record(TEST, expires_in=60.0)
    return case


def stored(case: Any) -> dict[str, str]:
    events = case.app.runtime.store.signals.listen(case.name, TEST.id, "here", ttl=60.0)
    return {name: event.value for name, event in events.items()}


@pytest.mark.promise("A child process that `multiprocessing` forked sends its signals before it ends.", theme="signals")
@pytest.mark.parametrize("library", [multiprocessing, billiard])
def test_signals_of_a_forked_child_are_sent_before_it_ends(case: Any, redis_url: str, library: Any) -> None:
    context = library.get_context("fork")
    with under_test(TEST):
        child = context.Process(target=case.sent.send, args=("from the child",))
        child.start()
    child.join(30)
    assert child.exitcode == 0
    assert stored(case) == {"sent": '"from the child"'}


def test_signals_of_a_spawned_child_are_sent_before_it_ends(case: Any, redis_url: str) -> None:
    child = multiprocessing.get_context("spawn").Process(target=TEST.bind(send_and_exit), args=(redis_url, "spawned"))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert stored(case) == {"sent": '"spawned"'}


def test_signals_of_a_process_pool_are_sent_before_it_ends(case: Any, redis_url: str) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        pool.submit(TEST.bind(send_and_exit), redis_url, "pooled").result()
    assert stored(case) == {"sent": '"pooled"'}


def test_signals_of_a_child_by_os_fork_are_sent_before_it_ends(case: Any, redis_url: str) -> None:
    with under_test(TEST):
        child = os.fork()
        if not child:
            status = 1
            try:
                case.sent.send("forked")
                status = 0 if case.app.flush() else 2  # os._exit() gives nobody a chance
            finally:
                os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert stored(case) == {"sent": '"forked"'}
