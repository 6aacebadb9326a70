"""LiveCheck on a Celery app, with BENCH_CASES cases (1 by default), each with a signal for which a test waits."""

from __future__ import annotations

import os

from celery import Celery

from livecheck_celery import Case, LiveCheck, Signal

app = Celery("checks", broker=os.environ["BENCH_REDIS"])
app.conf.task_ignore_result = True
app.conf.broker_connection_retry_on_startup = True
livecheck = LiveCheck(app)


class Order(Case):
    """A case with one signal, sent before the test runs."""

    probability = 1.0
    sent: Signal[str]

    def run(self) -> None:
        """Wait for the signal."""
        self.sent.wait(timeout=60)


cases = [
    livecheck.add_case(Order, name=f"bench.order_{number}", max_rate=None)
    for number in range(int(os.environ.get("BENCH_CASES", "1")))
]
