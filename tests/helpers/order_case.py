"""A case ``shop.test_order``, declared and executed in this process."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from celery import Celery

from livecheck_celery import Case, LiveCheck, Signal, State, TestReport, aio
from livecheck_celery.base_livecheck import BaseLiveCheck
from tests.helpers import faces


def face_of(method: Any) -> faces.Face:
    """Return the face of cases that have ``method``: the asyncio face if it is a coroutine function."""
    return faces.AIO if inspect.iscoroutinefunction(method) else faces.SYNC


def declare(livecheck: BaseLiveCheck, run: Any, base: type | None = None, **options: Any) -> Any:
    """Declare the case, with ``run`` as its method and two signals, ``sent`` and ``done``.

    ``base`` is by default the class of all cases of the face of ``run``.
    """
    base = base or face_of(run).Case
    signal = aio.Signal if issubclass(base, aio.Case) else Signal
    cls = type("test_order", (base,), {"run": run, "__annotations__": {"sent": signal[int], "done": signal[str]}})
    return livecheck.add_case(cls, name="shop.test_order", **options)


def make_order_case(url: str, **options: Any) -> Any:
    """Declare the case, with every request tested and the signal ``sent``, on an app whose broker is at ``url``."""
    livecheck = LiveCheck(Celery("shop", broker=url, set_as_current=False), **options)

    @livecheck.case(name="shop.test_order", probability=1.0)
    class test_order(Case):
        sent: Signal[str]

    return test_order


execute = faces.execute


def reports(livecheck: BaseLiveCheck) -> list[TestReport]:
    """Return the reports of the case, the newest first."""
    return livecheck.runtime.store.reports.latest(["shop.test_order"], count=100)


def outcomes(case: Any) -> list[tuple[State, str | None]]:
    """Return state and error of each report of ``case``, the newest first."""
    return [(report.state, report.error) for report in case.app.runtime.store.reports.latest([case.name], count=100)]


def still_works(livecheck: BaseLiveCheck) -> None:
    """Fail unless coroutines still run, and `LiveCheck.close` returns."""

    async def run(self: aio.Case) -> None:
        await asyncio.sleep(0)

    case = livecheck.add_case(type("later", (aio.Case,), {"run": run}), name="later")
    assert execute(case).state is State.PASS
    livecheck.close()


class CallableRun:
    """A method ``run`` that is an object of its own."""

    def __init__(self, run: Callable[..., Any]) -> None:
        self._run = run

    def __call__(self, *args: Any) -> Any:
        return self._run(*args)
