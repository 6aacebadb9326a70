"""The app of a host on any broker, with the state on another server."""

from __future__ import annotations

import os

from celery import Celery

from livecheck_celery import Case, LiveCheck, Signal

app = Celery("brokered", broker=os.environ["LIVECHECK_BROKER_URL"], set_as_current=False)
app.conf.task_create_missing_queue_type = os.environ.get("QUEUE_TYPE", "classic")
livecheck = LiveCheck(app, recover_within=3.0)


@livecheck.case(probability=1.0)
class test_order(Case):
    """Tests an order that is placed in a request and stored by a task of the host."""

    stored: Signal[str]

    def run(self, side: str) -> None:
        assert self.stored.wait(timeout=30.0) == side


@livecheck.case()
class test_waiting(Case):
    """Waits for the signal "go"."""

    go: Signal[str]

    def run(self) -> None:
        assert self.go.wait(timeout=60.0) == "go"


@livecheck.case(frequency=1.0)
class test_faked(Case):
    """Is triggered by fake requests only."""

    def run(self) -> None:
        assert self.current_test.synthetic

    def make_fake_request(self) -> None:
        with self.maybe_trigger():
            pass


@app.task(name="brokered.place", ignore_result=True)
def place(order_id: str, side: str) -> None:
    """Place an order, as a web request would."""
    with test_order.maybe_trigger(order_id, side):
        store.delay(side)


@app.task(name="brokered.store", ignore_result=True)
def store(side: str) -> None:
    test_order.stored.send(side)
