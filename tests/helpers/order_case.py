"""A case ``shop.test_order``, declared and executed in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from celery import Celery

from livecheck_celery import Case, LiveCheck, Signal, State, TestReport, TestRunner
from livecheck_celery.cases.arguments import build


def declare(livecheck: LiveCheck, run: Any, base: type = Case, **options: Any) -> Case:
    """Declare the case, with ``run`` as its method and two signals, ``sent`` and ``done``."""
    cls = type("test_order", (base,), {"run": run, "__annotations__": {"sent": Signal[int], "done": Signal[str]}})
    return livecheck.add_case(cls, name="shop.test_order", **options)


def make_order_case(url: str, **options: Any) -> Any:
    """Declare the case, with every request tested and the signal ``sent``, on an app whose broker is at ``url``."""
    livecheck = LiveCheck(Celery("shop", broker=url, set_as_current=False), **options)

    @livecheck.case(name="shop.test_order", probability=1.0)
    class test_order(Case):
        sent: Signal[str]

    return test_order


def execute(case: Case, *args: Any, id: str = "o-1", **kwargs: Any) -> TestRunner:
    """Execute a new test of ``case`` with these arguments."""
    return case.execute(build(case, id, args, kwargs))


def reports(livecheck: LiveCheck) -> list[TestReport]:
    """Return the reports of the case, the newest first."""
    return livecheck.runtime.store.reports.latest(["shop.test_order"], count=100)


def outcomes(case: Any) -> list[tuple[State, str | None]]:
    """Return state and error of each report of ``case``, the newest first."""
    return [(report.state, report.error) for report in case.app.runtime.store.reports.latest([case.name], count=100)]


def still_works(livecheck: LiveCheck) -> None:
    """Fail unless coroutines still run, and `LiveCheck.close` returns."""

    async def run(self: Case) -> None:
        await asyncio.sleep(0)

    case = livecheck.add_case(type("later", (Case,), {"run": run}), name="later")
    assert execute(case).state is State.PASS
    livecheck.close()


class CallableRun:
    """A method ``run`` that is an object of its own."""

    def __init__(self, run: Callable[..., Any]) -> None:
        self._run = run

    def __call__(self, *args: Any) -> Any:
        return self._run(*args)
