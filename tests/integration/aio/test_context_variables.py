"""The methods of a test see one context, as in a thread: a hook can bind what the lines of `run()` log."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from livecheck_celery import State, aio
from tests.helpers import faces

tenant: ContextVar[str] = ContextVar("tenant", default="none")


def test_hooks_and_run_share_context_variables(livecheck: aio.LiveCheck) -> None:
    seen = []

    class Binding(aio.TestRunner):
        async def on_start(self) -> None:
            tenant.set("of on_start()")
            await super().on_start()

    @livecheck.case(name="shop.test_order")
    class test_order(aio.Case):
        Runner = Binding

        async def on_test_start(self, runner: aio.TestRunner) -> None:
            seen.append(tenant.get())

        async def run(self) -> None:
            seen.append(tenant.get())
            tenant.set("of run()")

        async def on_test_pass(self, runner: aio.TestRunner) -> None:
            seen.append(tenant.get())

    runner: Any = faces.execute(test_order)
    assert runner.state is State.PASS
    assert seen == ["of on_start()", "of on_start()", "of run()"]
    assert tenant.get() == "none"
