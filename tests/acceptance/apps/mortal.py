"""A host's app whose workers are there to be killed; what takes half a minute elsewhere takes a second here."""

from __future__ import annotations

import os

from celery import Celery

from livecheck_celery import Case, LiveCheck, Signal

URL = os.environ["SHOP_URL"]

app = Celery("mortal", broker=URL, backend=URL, set_as_current=False)
livecheck = LiveCheck(app)
livecheck.leases.lease = float(os.environ.get("MORTAL_LEASE", "30"))
app.conf.beat_schedule["livecheck:recover"]["schedule"] = 0.5


@livecheck.case()
class test_plain(Case):
    early: Signal[str]
    go: Signal[str]

    def run(self) -> None:
        assert self.early.wait(timeout=10.0) == "early"
        assert self.go.wait(timeout=30.0) == "go"


@livecheck.case()
class test_async(Case):
    early: Signal[str]
    go: Signal[str]

    async def run(self) -> None:
        assert await self.early.wait_async(timeout=10.0) == "early"
        assert await self.go.wait_async(timeout=30.0) == "go"
