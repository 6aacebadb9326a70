"""The asyncio face of LiveCheck on a Celery app, with a case whose tests wait for a signal."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

from celery import Celery

from livecheck_celery import aio

app = Celery("aio_checks", broker=os.environ["BENCH_REDIS"])
app.conf.task_ignore_result = True
app.conf.broker_connection_retry_on_startup = True
livecheck = aio.LiveCheck(app)

_started = count(1)
_ALL = int(os.environ["BENCH_TESTS"])


class Order(aio.Case):
    """A case with one signal, sent while the test waits."""

    probability = 1.0
    sent: aio.Signal[str]

    async def run(self) -> None:
        """Wait for the signal; the test number BENCH_TESTS creates the file BENCH_ALL_WAIT."""
        if next(_started) == _ALL:
            Path(os.environ["BENCH_ALL_WAIT"]).touch()  # noqa: ASYNC240 - once
        await self.sent.wait(timeout=120)


case = livecheck.add_case(Order, name="bench.order", max_rate=None)
