"""The app of a host, with a case for each kind of schedule."""

from __future__ import annotations

import os

import redis
from celery import Celery
from celery.schedules import crontab, schedule

from livecheck_celery import Case, LiveCheck, Signal, aio, current_test

URL = os.environ["SHOP_URL"]

app = Celery("clockwork", broker=URL, set_as_current=False)
livecheck = LiveCheck(app)
notes = redis.Redis.from_url(URL)


def note_time(what: str) -> None:
    notes.rpush(f"clockwork:{what}", ".".join(f"{part:06}" for part in notes.time()))


@livecheck.case(frequency=1.0, warn_stalled_after="1h", state_transition_delay=0.0)
class test_steady(Case):
    """Has a fake request every second, which passes through two tasks of the host."""

    stored: Signal[bool]
    shipped: Signal[bool]

    def run(self) -> None:
        assert current_test().synthetic
        assert self.stored.wait(timeout=10.0), "the first task did not see that the request is fake"
        assert self.shipped.wait(timeout=10.0), "the second task did not see that the request is fake"

    def make_fake_request(self) -> None:
        note_time("steady")
        place.delay()


@livecheck.case(frequency=schedule(1.0), warn_stalled_after="1h")
class test_on_a_celery_schedule(aio.Case):
    """Has fake requests made by an ``async def``, on a schedule object of Celery."""

    async def run(self) -> None:
        pass

    async def make_fake_request(self) -> None:
        with self.maybe_trigger():
            pass


@livecheck.case(frequency=crontab(minute=0, hour="*/2"))
class test_every_two_hours(Case):
    """Has a fake request every two hours."""

    def run(self) -> None:
        pass


@livecheck.case(warn_stalled_after=1.0, state_transition_delay=0.0)
class test_untriggered(Case):
    """Is never triggered."""

    def run(self) -> None:
        pass


@app.task(name="clockwork.place")
def place() -> None:
    with test_steady.maybe_trigger() as test:
        store.delay(test.synthetic)


@app.task(name="clockwork.store")
def store(synthetic: bool) -> None:
    test_steady.stored.send(synthetic and current_test().synthetic)
    ship.delay()


@app.task(name="clockwork.ship")
def ship() -> None:
    test_steady.shipped.send(current_test().synthetic)
