"""The app of a host whose workers are stopped while tests wait, sleep, or make fake requests."""

from __future__ import annotations

import logging
import os
import time
from typing import Any

from celery import Celery, bootsteps
from celery.worker.consumer.control import Control

from livecheck_celery import Case, LiveCheck, Signal

app = Celery(
    "stopping", broker=os.environ["LIVECHECK_BROKER_URL"], backend=os.environ["SHOP_URL"], set_as_current=False
)
livecheck = LiveCheck(app, redis_url=os.environ["SHOP_URL"])


@app.task
def work(seconds: float) -> None:
    """A task of the application."""
    time.sleep(seconds)


@livecheck.case()
class test_waiting(Case):
    go: Signal[str]

    def run(self) -> None:
        assert self.go.wait() == "go"


@livecheck.case()
class test_sleeping(Case):
    go: Signal[str]

    def run(self) -> None:
        """Block outside of `wait`, as a request to a service that does not answer does."""
        if self.go.wait(timeout=60) == "sleep":
            app.log.get_default_logger().warning("run() is asleep")
            time.sleep(600)


@livecheck.case()
class test_computing(Case):
    go: Signal[str]

    def run(self) -> None:
        """Compute, and never let another greenlet run."""
        app.log.get_default_logger().warning("run() computes")
        end = time.monotonic() + 60
        while time.monotonic() < end:
            pass


@livecheck.case()
class test_logging(Case):
    def run(self) -> None:
        """Block while it holds the lock of the log, as a greenlet does that is stopped there."""
        app.log.get_default_logger().warning("run() holds the log")
        for handler in logging.root.handlers:
            handler.acquire()
        time.sleep(600)


@livecheck.case(frequency=60.0)
class test_faking(Case):
    def make_fake_request(self) -> None:
        app.log.get_default_logger().warning("making a fake request")
        time.sleep(1.0)


class SlowStep(bootsteps.StartStopStep):
    """A part of a host's consumer that stops no sooner than LiveCheck ends the process."""

    requires = (Control,)

    def include_if(self, parent: Any) -> bool:
        return bool(os.environ.get("SLOW_STEP"))

    def stop(self, parent: Any) -> None:
        control = next(step for step in parent.steps if isinstance(step, Control))
        while not control.box._node_shutdown.is_set():
            time.sleep(0.01)


app.steps["consumer"].add(SlowStep)
