"""The app of a host on any servers: ANYWHERE is its Celery configuration, as JSON."""

from __future__ import annotations

import json
import os

from celery import Celery

from livecheck_celery import Case, LiveCheck, Signal

app = Celery("anywhere", set_as_current=False)
app.conf.update(json.loads(os.environ["ANYWHERE"]))
app.conf.worker_proc_alive_timeout = 30
livecheck = LiveCheck(app)
app.conf.beat_schedule["livecheck:recover"]["schedule"] = 0.5


@livecheck.case()
class test_order(Case):
    early: Signal[str]
    go: Signal[str]

    def run(self) -> None:
        assert self.early.wait(timeout=30.0) == "early"
        assert self.go.wait(timeout=60.0) == "go"
