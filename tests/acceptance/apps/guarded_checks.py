"""The case of the service `guarded`, for its LiveCheck worker."""

import os

from celery import Celery

from livecheck_celery import Case, LiveCheck, Signal

app = Celery("guarded_checks", broker=os.environ["SHOP_URL"], set_as_current=False)
livecheck = LiveCheck(app)


@livecheck.case(name="guarded.test_register", probability=0.0)
class test_register(Case):
    """Waits for the end of the request."""

    done: Signal[dict] = Signal.from_request("POST", "/register/{number}/")

    def run(self) -> None:
        self.done.wait(timeout=20)


@livecheck.case(name="guarded.test_other", probability=0.0)
class test_other(Case):
    """Is not attacked."""

    def run(self) -> None:
        pass
