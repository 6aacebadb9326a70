"""The app of a host, with cases whose verdict the command line can choose."""

from __future__ import annotations

import os

from celery import Celery

from livecheck_celery import Case, LiveCheck, Signal

app = Celery("desk", broker=os.environ["SHOP_URL"], set_as_current=False)
app.conf.broker_connection_retry_on_startup = True
livecheck = LiveCheck(app)


@livecheck.case(probability=0.25)
class test_order(Case):
    """Passes if the side is "sell"."""

    def run(self, number: int, side: str = "sell") -> None:
        assert isinstance(number, int)
        assert side == "sell", f"the side is {side}"


@livecheck.case
class test_payment(Case):
    """Waits for a signal that is never sent."""

    paid: Signal[int]

    def run(self) -> None:
        self.paid.wait(timeout=0.1)
