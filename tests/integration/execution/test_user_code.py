"""What user code does in ``run()`` and in hooks: each test ends in its one verdict, and later tests run."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from livecheck_celery import (
    Case,
    LiveCheck,
    State,
    TestExecution,
    current_execution,
)
from livecheck_celery.tasks.fake_requests import make_fake_request
from tests.helpers.factories import BrokenStr
from tests.helpers.order_case import declare, execute, reports
from tests.helpers.waiting import wait_until


class OwnExit(BaseException):
    pass


EXITS = [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError(), OwnExit()]


def raising(error: BaseException, *, is_async: bool, in_task: bool = False) -> Callable[..., Any]:
    def method(self: Case, *args: Any) -> None:
        raise error

    async def coroutine(self: Case, *args: Any) -> None:
        raise error

    async def task(self: Case, *args: Any) -> None:
        await asyncio.create_task(coroutine(self))

    return task if in_task else coroutine if is_async else method


def still_works(livecheck: LiveCheck) -> None:
    """Fail unless coroutines still run, and `LiveCheck.close` returns."""

    async def run(self: Case) -> None:
        await asyncio.sleep(0)

    case = livecheck.add_case(type("later", (Case,), {"run": run}), name="later")
    assert execute(case).state is State.PASS
    livecheck.close()


# -- exits


@pytest.mark.promise(
    "A test that calls `sys.exit()`, or raises any other exception, is an ERROR; worker and other tests continue.",
    theme="verdicts",
)
@pytest.mark.parametrize("kind", ["def", "async def", "a task"])
@pytest.mark.parametrize("error", EXITS, ids=lambda error: type(error).__name__)
def test_run_that_exits_is_an_error(livecheck: LiveCheck, error: BaseException, kind: str) -> None:
    case = declare(livecheck, raising(error, is_async=kind != "def", in_task=kind == "a task"))
    runner = execute(case)
    assert (runner.state, type(runner.error)) == (State.ERROR, type(error))
    assert case.total_by_state == Counter(ERROR=1)
    [report] = reports(livecheck)
    assert report.error.startswith(type(error).__name__)
    still_works(livecheck)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("error", EXITS, ids=lambda error: type(error).__name__)
def test_hook_that_exits_changes_nothing(livecheck: LiveCheck, error: BaseException, is_async: bool) -> None:
    hooks = {name: raising(error, is_async=is_async) for name in ("on_test_start", "on_test_pass", "post_report")}
    case = declare(livecheck, lambda self: None, base=type("Hooked", (Case,), hooks))
    assert execute(case).state is State.PASS
    still_works(livecheck)


@pytest.mark.parametrize("is_async", [False, True])
def test_fake_request_that_exits_fails_the_suite(livecheck: LiveCheck, is_async: bool) -> None:
    base = type("Faked", (Case,), {"make_fake_request": raising(SystemExit(3), is_async=is_async)})
    case = declare(livecheck, lambda self: None, base=base, frequency=60)
    make_fake_request(case)
    assert case.status is State.ERROR
    assert reports(livecheck)[0].error.startswith("make_fake_request() raised SystemExit: 3")
    still_works(livecheck)


def test_error_without_a_printable_message_is_a_verdict(livecheck: LiveCheck) -> None:
    case = declare(livecheck, raising(BrokenStr(), is_async=False))
    assert execute(case).state is State.ERROR
    assert reports(livecheck)[0].error.startswith("BrokenStr")


def test_endless_recursion_is_an_error(livecheck: LiveCheck) -> None:
    def run(self: Case) -> None:
        run(self)

    case = declare(livecheck, run)
    assert execute(case).state is State.ERROR
    assert reports(livecheck)[0].error.startswith("RecursionError: maximum recursion depth exceeded")


# -- results that nothing executes


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


# -- the event loop


class Service(Case):
    """Requests a service that is down, and has coroutines for hooks."""

    called: list[str]
    url: str

    async def on_suite_fail(self, exc: Any, new_state: State = State.FAIL) -> None:
        await asyncio.sleep(0.01)
        self.called.append(f"on_suite_fail {new_state}")
        self.get_url(f"{self.url}again") if len(self.called) < 2 else None

    async def post_report(self, report: Any) -> None:
        await asyncio.sleep(0)


@pytest.fixture
def url() -> str:
    return "http://127.0.0.1:1/"


def get_url(self: Any) -> None:
    assert self.get_url(self.url) is None


async def get_url_async(self: Any) -> None:
    get_url(self)


async def get_url_in_thread(self: Any) -> None:
    await asyncio.to_thread(get_url, self)


@pytest.mark.promise("A failing service never blocks the event loop of the tests.", theme="verdicts")
@pytest.mark.parametrize("request_url", [get_url, get_url_async, get_url_in_thread])
def test_coroutine_hook_of_a_request_does_not_wait_for_its_own_loop(
    livecheck: LiveCheck, url: str, request_url: Any
) -> None:
    case = declare(livecheck, request_url, base=Service, url_error_retries=0, frequency=60)
    case.state_transition_delay = 0.0  # each failure of the suite is a new one
    case.url, case.called = url, []
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(execute, case).result(20).state is State.PASS
        assert case.called == ["on_suite_fail FAIL", "on_suite_fail FAIL"]
        case.called.clear()
        type(case).make_fake_request = request_url
        pool.submit(make_fake_request, case).result(20)
    assert case.called == ["on_suite_fail FAIL", "on_suite_fail FAIL"]
    still_works(livecheck)


def test_coroutine_that_closes_its_livecheck_does_not_wait_for_its_own_loop(livecheck: LiveCheck) -> None:
    closed: list[str] = []

    async def close_stack() -> None:
        await asyncio.sleep(0)
        closed.append("stack")

    async def run(self: Case) -> None:
        self.async_exit_stack.push_async_callback(close_stack)
        livecheck.close()

    case = declare(livecheck, run)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(execute, case).exception(20)
    assert closed == ["stack"]


def test_executing_a_coroutine_on_the_loop_is_refused(livecheck: LiveCheck) -> None:
    async def inner(self: Case) -> None:
        pass

    other = livecheck.add_case(type("other", (Case,), {"run": inner}), name="other")

    async def run(self: Case) -> None:
        runner = execute(other)
        assert runner.state is State.ERROR
        assert "would block the event loop" in str(runner.error)
        runner = await asyncio.to_thread(execute, other, id="o-2")
        assert runner.state is State.PASS

    assert execute(declare(livecheck, run)).state is State.PASS


def test_wait_in_a_thread_of_a_coroutine_gets_the_signal(livecheck: LiveCheck) -> None:
    async def run(self: Case) -> None:
        assert await asyncio.to_thread(self.sent.wait, timeout=10) == 7

    case = declare(livecheck, run)
    case.sent.send(7, key="o-1", force=True)
    livecheck.flush()
    runner = execute(case)
    assert runner.state is State.PASS, runner.error


class CallableRun:
    def __init__(self, run: Callable[..., Any]) -> None:
        self._run = run

    def __call__(self, *args: Any) -> Any:
        return self._run(*args)


async def wait_on_the_loop(self: Any = None) -> None:
    (self or current_execution().case).sent.wait(timeout=30)


@functools.wraps(wait_on_the_loop)
def wrapped(self: Any) -> Any:
    return wait_on_the_loop(self)


@pytest.mark.parametrize("run", [wait_on_the_loop, wrapped, CallableRun(wait_on_the_loop)])
def test_wait_that_would_block_the_loop_is_an_error_however_run_is_decorated(livecheck: LiveCheck, run: Any) -> None:
    runner = execute(declare(livecheck, run))
    assert runner.state is State.ERROR
    assert "await ...sent.wait_async()" in str(runner.error)


def test_callable_object_that_returns_a_coroutine_is_executed(livecheck: LiveCheck) -> None:
    runner = execute(declare(livecheck, CallableRun(fail)))
    assert runner.state is State.FAIL


def test_private_loop_of_run_may_wait(livecheck: LiveCheck) -> None:
    def run(self: Any) -> None:
        async def main() -> None:
            assert self.sent.wait(timeout=10) == 7

        asyncio.run(main())

    case = declare(livecheck, run)
    case.sent.send(7, key="o-1", force=True)
    livecheck.flush()
    runner = execute(case)
    assert runner.state is State.PASS, runner.error


# -- overrides of trigger


@pytest.mark.parametrize("by_name", [False, True])
def test_overridden_trigger_and_maybe_trigger_are_always_called(livecheck: LiveCheck, by_name: bool) -> None:
    class Counted(Case):
        called: list[str]

        def trigger(self, *args: Any, **kwargs: Any) -> TestExecution:
            self.called.append("trigger")
            base: Any = Case
            return base.trigger(self, *args, **kwargs) if by_name else super().trigger(*args, **kwargs)

        def maybe_trigger(self, *args: Any, **kwargs: Any) -> Any:
            self.called.append("maybe_trigger")
            base: Any = Case
            return base.maybe_trigger(self, *args, **kwargs) if by_name else super().maybe_trigger(*args, **kwargs)

    case: Any = declare(livecheck, lambda self: None, base=Counted, probability=1.0)
    case.called = []
    for number in range(3):
        assert case.trigger(f"t-{number}").id == f"t-{number}"
        with case.maybe_trigger(f"m-{number}") as test:
            assert test.id == f"m-{number}"
    assert case.called == ["trigger", "maybe_trigger"] * 3


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


def test_error_has_no_place_in_livecheck(livecheck: LiveCheck) -> None:
    def run(self: Case, side: str) -> None: ...

    execute(declare(livecheck, run))
    [report] = reports(livecheck)
    assert str(report.error).endswith("missing 1 required positional argument: 'side'")


async def stop_iteration(self: Case) -> None:
    raise StopIteration


def of_unreadable_cause(self: Case) -> None:
    class Unreadable(Exception):
        def __getattribute__(self, name: str) -> Any:
            raise ZeroDivisionError(name)

    raise ValueError("no price") from Unreadable()


def raise_group(self: Case) -> None:
    raise ExceptionGroup("prices", [ValueError("no price"), ValueError("no side")])


@pytest.mark.parametrize(
    ("run", "text"),
    [
        (stop_iteration, "RuntimeError: coroutine raised StopIteration ("),
        (of_unreadable_cause, "ValueError: no price ("),
        (raise_group, "ValueError: no price ("),
    ],
)
def test_error_that_user_code_did_not_raise_itself_has_a_place(livecheck: LiveCheck, run: Any, text: str) -> None:
    execute(declare(livecheck, run))
    [report] = reports(livecheck)
    assert str(report.error).startswith(f"{text}test_user_code.py:")


@pytest.mark.promise("A child that `run()` forks decides no verdict.", theme="verdicts")
@pytest.mark.parametrize(
    ("leave", "code"),
    [
        (lambda: None, 0),
        (sys.exit, 0),
        (lambda: sys.exit(7), 7),
        (lambda: sys.exit("no"), 1),
        (lambda: 1 / 0, 1),
    ],
    ids=["returns", "exits", "exits with 7", "exits with text", "raises"],
)
def test_forked_child_that_leaves_run_decides_nothing(livecheck: LiveCheck, leave: Any, code: int) -> None:
    codes = []

    def run(self: Case) -> None:
        child = os.fork()
        if child == 0:
            leave()
            return
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        raise ValueError("of the parent")

    runner = execute(declare(livecheck, run))
    assert codes == [code]
    assert (runner.state, str(runner.error)) == (State.ERROR, "of the parent")
    assert [report.state for report in reports(livecheck)] == [State.ERROR]
