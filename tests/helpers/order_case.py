"""A case ``shop.test_order`` with two signals, executed in this process."""

from __future__ import annotations

from typing import Any

from livecheck_celery import Case, LiveCheck, Signal, TestReport, TestRunner
from livecheck_celery.cases.arguments import build


def declare(livecheck: LiveCheck, run: Any, base: type = Case, **options: Any) -> Case:
    cls = type("test_order", (base,), {"run": run, "__annotations__": {"sent": Signal[int], "done": Signal[str]}})
    return livecheck.add_case(cls, name="shop.test_order", **options)


def execute(case: Case, *args: Any, id: str = "o-1", **kwargs: Any) -> TestRunner:
    return case.execute(build(case, id, args, kwargs))


def reports(livecheck: LiveCheck) -> list[TestReport]:
    return livecheck.runtime.store.reports.latest(["shop.test_order"], count=100)
