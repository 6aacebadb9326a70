"""Cases of the asyncio face, which hold no slot of their worker, and a task that follows a test in a chain."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from celery import Celery

from livecheck_celery import Case, aio

app = Celery("loops", broker=os.environ["LIVECHECK_BROKER_URL"], backend=os.environ["SHOP_URL"], set_as_current=False)
livecheck = aio.LiveCheck(app, redis_url=os.environ["SHOP_URL"])


@app.task
def note(state: str, test: str) -> str:
    """Return the verdict that a chain passes on."""
    return f"{test}: {state}"


@livecheck.case()
class test_waiting(aio.Case):
    go: aio.Signal[Any]

    async def run(self, number: int = 0) -> None:
        assert await self.go.wait() == number


class InThread(Case):
    def run(self) -> None:
        pass


livecheck.add_case(InThread, name="loops.test_in_thread")


@livecheck.case()
class test_sleeping(aio.Case):
    async def run(self) -> None:
        await asyncio.sleep(600)


@livecheck.case(max_runtime=1.0)
class test_limited(aio.Case):
    async def run(self) -> None:
        await asyncio.sleep(600)


@livecheck.case(frequency=1.0)
class test_faked(aio.Case):
    async def run(self) -> None:
        await asyncio.sleep(0)

    async def make_fake_request(self) -> None:
        await self.trigger()
