"""The app of a host with two cases in each face: outsiders flood one with tests that wait for a signal."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from livecheck_celery import Case, LiveCheck, Signal, aio

app = Celery("shares", broker=os.environ["SHOP_URL"], set_as_current=False)
livecheck = LiveCheck(app)


class Desk(Case):
    go: Signal[str]

    def make_fake_request(self) -> None:
        with self.maybe_trigger():
            self.go.send("go")

    def run(self) -> None:
        assert self.go.wait(timeout=120) == "go"


class AsyncDesk(aio.Case):
    go: aio.Signal[str]

    async def make_fake_request(self) -> None:
        with self.maybe_trigger():
            self.go.send("go")

    async def run(self) -> None:
        assert await self.go.wait(timeout=120) == "go"


options: dict[str, Any] = {"frequency": 1.0, "warn_stalled_after": 60.0}
livecheck.add_case(Desk, name="flooded", **options)
livecheck.add_case(Desk, name="other", **options)
livecheck.add_case(AsyncDesk, name="flooded_loop", **options)
livecheck.add_case(AsyncDesk, name="other_loop", **options)
