"""The app of a host whose workers are killed; LIVECHECK_RECOVER_WITHIN sets how soon tests recover."""

from __future__ import annotations

import os

from celery import Celery

from livecheck_celery import Case, LiveCheck, Signal, aio

URL = os.environ["SHOP_URL"]

app = Celery("mortal", broker=URL, backend=URL, set_as_current=False)
livecheck = LiveCheck(app)


@livecheck.case()
class test_plain(Case):
    early: Signal[str]
    go: Signal[str]

    def run(self) -> None:
        assert self.early.wait(timeout=10.0) == "early"
        assert self.go.wait(timeout=30.0) == "go"


@livecheck.case()
class test_async(aio.Case):
    early: aio.Signal[str]
    go: aio.Signal[str]

    async def run(self) -> None:
        assert await self.early.wait(timeout=10.0) == "early"
        assert await self.go.wait(timeout=30.0) == "go"
