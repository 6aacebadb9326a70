"""The app of a host that accepts every content type, which LiveCheck must not do."""

from __future__ import annotations

import os

from celery import Celery

from livecheck_celery import Case, LiveCheck, Signal
from livecheck_celery.utils import throttle

vars(throttle)["EVERY"] = 0.0  # each message that is refused is logged

app = Celery("lenient", broker=os.environ["LIVECHECK_BROKER_URL"], set_as_current=False)
app.conf.accept_content = ["json", "pickle", "yaml", "msgpack"]
app.conf.task_serializer = "pickle"
livecheck = LiveCheck(app, max_payload=20 * 1024 * 1024)


@livecheck.case()
class test_plain(Case):
    """Passes if the signal has the value it was triggered with."""

    go: Signal[str]

    def run(self, me: str, payload: str = "", within: float = 30.0) -> None:
        assert self.go.wait(timeout=within).startswith(me)
        self.log.info("test %s\nof %s", self.current_test.id, me)
