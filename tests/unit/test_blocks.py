"""Blocks are left in any order, and in any context; nothing is raised, and nothing stays in force."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livecheck_celery import LiveCheck, TestExecution, blocks, context
from livecheck_celery.blocks import MAX_OPEN, MAX_TESTS, Block, Work, current_work
from livecheck_celery.context import current_test, detached, fake_request, is_synthetic, under_test
from livecheck_celery.propagation.headers import outgoing
from tests.helpers.factories import make_gate, make_test
from tests.helpers.marks import make_mark, synthetic_case
from tests.helpers.scripts import run_script
from tests.helpers.signing import sign
from tests.helpers.waiting import wait_until
from tests.helpers.web import KEY, SIGNED, TEST

OUTER = make_test("outer")


def in_force() -> list[Any]:
    return [current_test(), synthetic_case(), current_work(), outgoing(), context.operation_tests()]


NOTHING: list[Any] = [None, None, None, {}, []]


# -- the same, for everything that makes something current


def maybe_trigger() -> AbstractContextManager[Any]:
    livecheck = LiveCheck(redis_url="redis://127.0.0.1:1/0")
    return livecheck.add_case(livecheck.Case, name="shop.test_order", probability=1.0).maybe_trigger("o-1")


def extract() -> AbstractContextManager[Any]:
    livecheck = LiveCheck(redis_url="redis://127.0.0.1:1/0", secret_key=KEY[0])
    return livecheck.extract(SIGNED)


def request() -> AbstractContextManager[Any]:
    from livecheck_celery.propagation.request import RequestScope

    scope = RequestScope(make_gate(*KEY), SIGNED.items(), "GET", "/")

    class Request:
        def __enter__(self) -> None:
            scope.__enter__()

        def __exit__(self, *error: object) -> None:
            scope.__exit__(*error)

    return Request()


BLOCKS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "maybe_trigger": maybe_trigger,
    "extract": extract,
    "request": request,
    "under_test": lambda: under_test(TEST),
    "fake_request": lambda: fake_request("shop.test_order"),
    "work": lambda: Work((TEST,), make_mark()),
}
every_block = pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS.keys())


def holding(block: AbstractContextManager[Any]) -> Iterator[int]:
    with block:
        yield 1
        yield 2


async def holding_async(block: AbstractContextManager[Any]) -> AsyncIterator[int]:
    with block:
        yield 1
        yield 2


@every_block
def test_block_entered_and_left_in_different_contexts_leaves_nothing_in_force(block: Callable[[], Any]) -> None:
    parts = holding(block())
    assert [copy_context().run(next, parts, None) for _ in range(3)] == [1, 2, None]
    assert in_force() == NOTHING


@every_block
def test_generator_closed_by_another_thread_leaves_nothing_in_force(block: Callable[[], Any]) -> None:
    parts = holding(block())
    next(parts)
    assert in_force() != NOTHING
    thread = threading.Thread(target=parts.close)
    thread.start()
    thread.join()
    assert in_force() == NOTHING
    assert copy_context().run(in_force) == NOTHING


@every_block
def test_generator_closed_by_the_garbage_collector_leaves_nothing_in_force(block: Callable[[], Any]) -> None:
    held: list[Any] = [holding(block())]
    next(held[0])
    held.append(held)
    del held
    # Several times: a collection does nothing while another thread is collecting.
    wait_until(lambda: copy_context().run(gc.collect) >= 0 and in_force() == NOTHING)


@every_block
def test_generators_closed_out_of_order_leave_nothing_in_force(block: Callable[[], Any]) -> None:
    first, second = holding(block()), holding(block())
    next(first), next(second)
    first.close()
    assert in_force() != NOTHING
    second.close()
    assert in_force() == NOTHING


@every_block
def test_async_generator_left_to_the_loop_leaves_nothing_in_force(block: Callable[[], Any]) -> None:
    errors: list[Any] = []

    async def start() -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda _, error: errors.append(error))
        parts = holding_async(block())
        await anext(parts)
        return parts

    parts = asyncio.run(start())  # the loop closes the generator in a task of its own
    assert in_force() == NOTHING
    assert errors == []
    del parts


@every_block
def test_coroutine_closed_in_another_context_leaves_nothing_in_force(block: Callable[[], Any]) -> None:
    async def work() -> None:
        with block():
            await asyncio.Future(loop=loop)

    loop = asyncio.new_event_loop()
    coroutine = work()
    coroutine.send(None)
    copy_context().run(coroutine.close)
    loop.close()
    assert in_force() == NOTHING


def test_outer_block_stays_in_force_when_an_inner_one_is_left_elsewhere() -> None:
    with under_test(OUTER):
        parts = holding(under_test(TEST))
        next(parts)
        copy_context().run(parts.close)
        assert current_test() == OUTER
    assert in_force() == NOTHING


def test_block_left_after_its_outer_block_is_not_left_in_force() -> None:
    outer, inner = holding(under_test(OUTER)), holding(under_test(TEST))
    next(outer), next(inner)
    outer.close()
    assert current_test() == TEST
    inner.close()
    assert in_force() == NOTHING


def test_block_can_be_entered_again_while_it_is_open() -> None:
    block = maybe_trigger()
    with block as outer:
        with block as inner:
            assert current_test() is inner is not outer
        assert current_test() is outer
    assert in_force() == NOTHING


def test_block_left_twice_changes_nothing() -> None:
    block = Block((TEST,)).__enter__()
    block.__exit__()
    with under_test(OUTER):
        block.__exit__()
        assert current_test() == OUTER


SCRIPT = """
from livecheck_celery import LiveCheck
from livecheck_celery.context import under_test, fake_request
from tests.helpers.factories import make_test

def holding(block):
    with block:
        yield

generators = [holding(under_test(make_test())), holding(fake_request("shop.test_order"))]
generators.append(holding(LiveCheck(redis_url="redis://127.0.0.1:1/0").extract({})))
for generator in generators:
    next(generator)
cycle = [generators]
cycle.append(cycle)
"""


def test_block_open_at_the_exit_of_the_interpreter_prints_nothing() -> None:
    assert run_script(SCRIPT).stderr == ""


#: What one step of a random program does: enter a block, leave any of the open ones, here or elsewhere.
steps = st.lists(st.tuples(st.sampled_from(["enter", "leave", "leave elsewhere"]), st.integers(0, 5)), max_size=30)


@settings(deadline=None)
@given(steps)
def test_any_order_of_entering_and_leaving_ends_with_nothing_in_force(program: list[tuple[str, int]]) -> None:
    made: list[Callable[[], Any]] = [
        lambda: Block((TEST,)),
        lambda: Block((OUTER,)),
        lambda: fake_request("shop.test_order"),
        detached,
        lambda: Work((TEST,)),
        lambda: Block((), isolated=True),
    ]
    opened: list[Any] = []
    for step, number in program:
        if step == "enter":
            opened.append(made[number]().__enter__())
        elif opened:
            block = opened.pop(number % len(opened))
            if step == "leave":
                block.__exit__()
            else:
                copy_context().run(block.__exit__)
            assert block not in [each for each in blocks._open.get() if not each.ended]
    for block in opened:
        block.__exit__()
    assert in_force() == NOTHING
    with under_test(TEST):
        assert len(blocks._open.get()) == 1, "blocks that have ended are not kept"


# -- how long


def test_task_started_in_a_block_keeps_the_test_until_it_expires() -> None:
    async def run() -> list[TestExecution | None]:
        proceed = asyncio.Event()

        async def work() -> TestExecution | None:
            await proceed.wait()
            return current_test()

        expired = make_test("expired", expires=datetime.now(UTC) - timedelta(seconds=1))
        started = []
        for test in (TEST, expired):
            with Block((test,)):
                started.append(asyncio.create_task(work()))
        proceed.set()
        return [await each for each in started]

    assert asyncio.run(run()) == [TEST, None]


def test_expired_test_is_not_in_force() -> None:
    with Work((make_test(expires=datetime.now(UTC)),)) as work, Block((make_test(expires=datetime.now(UTC)),)):
        work.collect(make_test("3", expires=datetime.now(UTC)), lingers=True)
        work.linger()
        assert in_force() == [None, None, work, {}, []]


def test_test_that_lasts_as_long_as_its_block_expires_in_the_work_that_the_block_started() -> None:
    expired = make_test("expired", expires=datetime.now(UTC) - timedelta(seconds=1))
    with under_test(expired, expires=False):
        started = copy_context()
        assert started.run(current_test) == expired
    assert started.run(current_test) is None


def test_mark_of_a_fake_request_lasts_until_it_expires_in_work_that_outlives_its_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with fake_request("shop.test_order", 60) as block:
        started = copy_context()  # as a worker task that is created in it
    assert block.mark is not None
    for after, name in ((-1, "shop.test_order"), (1, None)):
        now = block.mark.expires + timedelta(seconds=after)
        monkeypatch.setattr(blocks.clock, "now", lambda now=now: now)
        assert started.run(synthetic_case) == name


def test_mark_does_not_expire_in_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_request("shop.test_order", 60) as block, Work((TEST,), block.mark):
        monkeypatch.setattr(blocks.clock, "now", lambda: datetime.now(UTC) + timedelta(days=365))
        assert (current_test(), synthetic_case()) == (None, "shop.test_order")


def test_block_of_an_expired_synthetic_test_is_synthetic() -> None:
    expired = make_test("expired", synthetic=True, expires=datetime.now(UTC) - timedelta(seconds=1))
    with under_test(expired):
        assert current_test() is None
        assert is_synthetic()
        with detached():
            assert not is_synthetic()
    assert not is_synthetic()


def test_endless_work_keeps_a_bounded_number_of_tests() -> None:
    with Work() as work:
        for number in range(3 * MAX_TESTS):
            work.collect(make_test(str(number)), lingers=True)
        assert [test.id for test in work.triggered] == [str(number) for number in range(2 * MAX_TESTS, 3 * MAX_TESTS)]
        assert len(context.operation_tests()) == len(work.lingering) == MAX_TESTS


def test_blocks_that_are_never_left_are_bounded_and_the_latest_stay_in_force() -> None:
    def leak() -> None:
        with Work() as work:
            for number in range(1000):
                Block((make_test(str(number)),)).__enter__()
            assert current_work() is work
            assert [test.id for test in blocks.tests_in_force()] == [str(999 - n) for n in range(MAX_OPEN - 1)]
        assert in_force() == NOTHING

    copy_context().run(leak)


def test_detached_block_is_part_of_nothing() -> None:
    with Work((TEST,)), under_test(OUTER), fake_request("shop.test_order"):
        with detached():
            assert in_force() == NOTHING
            with under_test(TEST):
                assert context.operation_tests() == [TEST]
            assert in_force() == NOTHING
        assert (current_test(), synthetic_case()) == (OUTER, "shop.test_order")
    assert sign(outgoing(), KEY).keys() == {"LiveCheck-Test-Signature"}
