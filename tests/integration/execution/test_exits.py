"""`run()` and hooks that exit, raise or fork: each test ends in its one verdict, and later tests run."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from livecheck_celery import (
    Case,
    LiveCheck,
    State,
)
from livecheck_celery.tasks.fake_requests import make_fake_request
from tests.helpers.factories import BrokenStr
from tests.helpers.order_case import declare, execute, face_of, reports, still_works


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
    face = face_of(hooks["post_report"])
    case = declare(livecheck, lambda self: None, base=type("Hooked", (face.Case,), hooks))
    assert execute(case).state is State.PASS
    still_works(livecheck)


@pytest.mark.parametrize("is_async", [False, True])
def test_fake_request_that_exits_fails_the_suite(livecheck: LiveCheck, is_async: bool) -> None:
    method = raising(SystemExit(3), is_async=is_async)
    base = type("Faked", (face_of(method).Case,), {"make_fake_request": method})
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
