"""The app of a host whose beats and workers are killed; intervals are short, so that tests take seconds."""

from __future__ import annotations

import os

import redis
from celery import Celery
from celery.schedules import crontab

from livecheck_celery import Case, LiveCheck
from livecheck_celery.tasks import heartbeat

URL = os.environ["SHOP_URL"]

app = Celery("keeper", broker=URL, set_as_current=False)
app.conf.update(
    redbeat_redis_url=URL, redbeat_lock_timeout=3, beat_max_loop_interval=1, broker_connection_retry_on_startup=True
)
livecheck = LiveCheck(app)
livecheck.runtime.leases.lease = 1.0
notes = redis.Redis.from_url(URL)


@livecheck.case(frequency=1.0)
class test_steady(Case):
    """Has a fake request every second."""

    def make_fake_request(self) -> None:
        notes.rpush("keeper:steady", ".".join(f"{part:06}" for part in notes.time()))


@livecheck.case(frequency=60.0)
class test_fatal(Case):
    """Has a fake request that does not end before a test allows it, so that its worker can be killed."""

    def make_fake_request(self) -> None:
        notes.rpush("keeper:begun", 1)
        notes.blpop(["keeper:go"], timeout=60)
        notes.rpush("keeper:made", 1)


if "KEEPER_WITHOUT" not in os.environ:

    @livecheck.case(frequency=crontab(minute="*/5"))
    class test_leaving(Case):
        """Is not declared by the next deployment."""


every = float(os.environ.get("KEEPER_EVERY", "5"))
heartbeat.HEARTBEAT_EVERY = every
for name in ("livecheck:recover", "livecheck:heartbeat"):
    if name in app.conf.beat_schedule:
        app.conf.beat_schedule[name]["schedule"] = every
