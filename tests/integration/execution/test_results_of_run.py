"""What `run()` and hooks return: nothing that is left unexecuted passes."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from livecheck_celery import (
    Case,
    LiveCheck,
    State,
)
from tests.helpers.order_case import CallableRun, declare, execute
from tests.helpers.waiting import wait_until


def numbers() -> Iterator[int]:
    raise AssertionError("executed")
    yield


async def fail() -> None:
    raise AssertionError("executed")


async def returning_coroutine(self: Case) -> Any:
    return fail()


def decorated(self: Case) -> Any:
    @functools.wraps(numbers)
    def wrapper() -> Any:
        return numbers()

    return wrapper()


@pytest.mark.parametrize(
    ("run", "state"),
    [
        (lambda self: numbers(), State.ERROR),
        (decorated, State.ERROR),
        (lambda self: map(int, ["x"]), State.ERROR),
        (lambda self: fail(), State.FAIL),
        (returning_coroutine, State.FAIL),
        (functools.partial(fail), State.FAIL),
        (staticmethod(fail), State.FAIL),
    ],
)
def test_unexecuted_result_of_run_is_not_a_pass(livecheck: LiveCheck, run: Any, state: State) -> None:
    case = declare(livecheck, run)
    runner = execute(case)
    assert runner.state is state
    assert "executed" in str(runner.error) or "nothing executes" in str(runner.error)


class Lazy:
    """An object that is evaluated, and fails, as soon as anything of it is read."""

    def __getattribute__(self, name: str) -> Any:
        raise ZeroDivisionError(name)


@pytest.mark.parametrize("is_async", [False, True])
def test_returned_value_decides_no_verdict(livecheck: LiveCheck, is_async: bool) -> None:
    def run(self: Case) -> Any:
        return Lazy()

    async def run_async(self: Case) -> Any:
        return Lazy()

    runner = execute(declare(livecheck, run_async if is_async else run))
    assert runner.state is State.PASS, runner.error


def test_callable_object_that_returns_a_coroutine_is_executed(livecheck: LiveCheck) -> None:
    runner = execute(declare(livecheck, CallableRun(fail)))
    assert runner.state is State.FAIL


def test_hook_with_a_yield_that_a_decorator_hides_is_logged(
    livecheck: LiveCheck, caplog: pytest.LogCaptureFixture
) -> None:
    base = type("Hooked", (Case,), {"on_test_pass": lambda self, runner: numbers()})
    assert execute(declare(livecheck, lambda self: None, base=base)).state is State.PASS
    wait_until(lambda: any("has a yield" in (record.exc_text or "") for record in caplog.records))


@contextlib.contextmanager
def in_a_context(self: Case) -> Iterator[None]:
    yield
    raise AssertionError


@contextlib.asynccontextmanager
async def in_an_async_context(self: Case) -> AsyncIterator[None]:
    yield
    raise AssertionError


@pytest.mark.parametrize("run", [in_a_context, in_an_async_context])
def test_run_that_is_a_context_manager_is_an_error(livecheck: LiveCheck, run: Any) -> None:
    runner = execute(declare(livecheck, run))
    assert runner.state is State.ERROR
    assert "run() returned a generator, which nothing executes" in str(runner.error)
