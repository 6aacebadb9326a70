"""What `run()` and hooks return: nothing that is left unexecuted passes."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import livecheck_celery
from livecheck_celery import Case, LiveCheck, State, aio
from livecheck_celery.tasks.fake_requests import make_fake_request
from tests.helpers.order_case import CallableRun, declare, execute, reports
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


@pytest.mark.parametrize("face", [livecheck_celery, aio])
@pytest.mark.parametrize("run", [lambda self: numbers(), decorated, lambda self: map(int, ["x"])])
def test_unexecuted_result_of_run_is_not_a_pass(livecheck: LiveCheck, face: Any, run: Any) -> None:
    runner = execute(declare(livecheck, run, base=face.Case))
    assert runner.state is State.ERROR
    assert "nothing executes" in str(runner.error)


@functools.wraps(fail)
def wrapper(*args: Any) -> Any:
    return fail()


@pytest.mark.parametrize("run", [lambda self: fail(), wrapper])
def test_coroutine_that_run_of_the_sync_face_returns_is_an_error(livecheck: LiveCheck, run: Any) -> None:
    runner = execute(declare(livecheck, run, base=Case))
    assert runner.state is State.ERROR
    assert isinstance(runner.error, TypeError)
    assert str(runner.error) == (
        "run() returned an awaitable, which nothing executes; cases that await are those of livecheck_celery.aio"
    )


def test_coroutine_that_a_fake_request_of_the_sync_face_returns_is_an_error(livecheck: LiveCheck) -> None:
    base = type("Faked", (Case,), {"make_fake_request": lambda self: fail()})
    make_fake_request(declare(livecheck, lambda self: None, base=base, frequency=60))
    [report] = reports(livecheck)
    assert report.state is State.ERROR
    assert "make_fake_request() returned an awaitable, which nothing executes" in str(report.error)


@pytest.mark.parametrize(
    ("run", "state"),
    [
        (lambda self: fail(), State.FAIL),
        (wrapper, State.FAIL),
        (returning_coroutine, State.FAIL),
        (functools.partial(fail), State.FAIL),
        (staticmethod(fail), State.FAIL),
        (CallableRun(fail), State.FAIL),
        (lambda self: None, State.PASS),
    ],
)
def test_result_of_run_is_awaited_in_the_asyncio_face(livecheck: LiveCheck, run: Any, state: State) -> None:
    runner = execute(declare(livecheck, run, base=aio.Case))
    assert (runner.state, str(runner.error)) == (state, "executed" if state is State.FAIL else "None")


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


def test_hook_with_a_yield_that_a_decorator_hides_is_logged(
    livecheck: LiveCheck, caplog: pytest.LogCaptureFixture
) -> None:
    base = type("Hooked", (Case,), {"on_test_pass": lambda self, runner: numbers()})
    assert execute(declare(livecheck, lambda self: None, base=base)).state is State.PASS
    wait_until(lambda: any("has a yield" in (record.exc_text or "") for record in caplog.records))


def test_hook_of_the_sync_face_that_returns_a_coroutine_is_logged(
    livecheck: LiveCheck, caplog: pytest.LogCaptureFixture
) -> None:
    def on_test_pass(self: Case, runner: Any) -> Any:
        return fail()

    base = type("Hooked", (Case,), {"on_test_pass": on_test_pass})
    assert execute(declare(livecheck, lambda self: None, base=base)).state is State.PASS
    [record] = [record for record in caplog.records if record.getMessage().endswith("on_test_pass() raised")]
    assert "on_test_pass() returned an awaitable, which nothing executes" in str(record.exc_text)
    assert "livecheck_celery.aio" in str(record.exc_text)


@pytest.mark.parametrize("result", ["a coroutine", None])
def test_hook_of_the_asyncio_face_can_be_decorated(
    livecheck: LiveCheck, caplog: pytest.LogCaptureFixture, result: str | None
) -> None:
    called: list[Any] = []

    async def note(runner: Any) -> None:
        called.append(runner)

    hooks = {"on_test_pass": lambda self, runner: note(runner) if result else None}
    runner = execute(declare(livecheck, lambda self: None, base=type("Hooked", (aio.Case,), hooks)))
    assert runner.state is State.PASS
    assert called == ([runner] if result else [])
    assert not any("raised" in message for message in caplog.messages)


@contextlib.contextmanager
def in_a_context(self: Case) -> Iterator[None]:
    yield
    raise AssertionError


@contextlib.asynccontextmanager
async def in_an_async_context(self: Case) -> AsyncIterator[None]:
    yield
    raise AssertionError


@pytest.mark.parametrize("face", [livecheck_celery, aio])
@pytest.mark.parametrize("run", [in_a_context, in_an_async_context])
def test_run_that_is_a_context_manager_is_an_error(livecheck: LiveCheck, face: Any, run: Any) -> None:
    runner = execute(declare(livecheck, run, base=face.Case))
    assert runner.state is State.ERROR
    assert "run() returned a generator, which nothing executes" in str(runner.error)
