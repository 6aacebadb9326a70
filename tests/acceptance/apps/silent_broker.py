"""The app of a host whose broker falls silent when a worker has received a test with a countdown."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import task_received

from livecheck_celery import Case, LiveCheck, Signal
from livecheck_celery.tasks import broker_watch

vars(broker_watch)["BLOCKED_AFTER"] = 3.0  # between messages, Celery reads for 2 s

app = Celery("silent_broker", broker=os.environ["LIVECHECK_BROKER_URL"], set_as_current=False)
app.conf.broker_connection_timeout = 2
livecheck = LiveCheck(app, redis_url=os.environ["SHOP_URL"])


@livecheck.case()
class test_waiting(Case):
    go: Signal[str]

    def run(self) -> None:
        assert self.go.wait() == "go"


@task_received.connect
def wait_until_broker_is_silent(request: Any, **_: Any) -> None:
    """Celery then changes the prefetch count, and waits for the answer."""
    silent = Path(os.environ["SILENT"])
    if request.eta and not silent.exists():
        app.log.get_default_logger().warning("received a test with a countdown")
        end = time.monotonic() + 20.0
        while not silent.exists() and time.monotonic() < end:
            time.sleep(0.02)
