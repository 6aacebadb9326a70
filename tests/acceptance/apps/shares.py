"""The app of a host with two cases of one face, of which outsiders flood one with tests that wait."""

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


base: Any = {"sync": Desk, "aio": AsyncDesk}[os.environ.get("SHARES_FACE", "sync")]
if "SHARES_ALONE" in os.environ:
    livecheck.add_case(base, name="flooded")
else:
    for name in ("flooded", "other"):
        livecheck.add_case(base, name=name, frequency=1.0, warn_stalled_after=60.0)
