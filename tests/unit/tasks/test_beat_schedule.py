from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
import redis
from celery import Celery
from celery.schedules import crontab, schedule

from livecheck_celery import LiveCheck
from livecheck_celery.store import Store
from livecheck_celery.tasks.beat_schedule import period_of, window_of
from tests.helpers.factories import CASE


def make_app() -> Celery:
    return Celery("shop", set_as_current=False, broker="redis://b/0")


def declare(livecheck: LiveCheck) -> None:
    livecheck.case(name="busy", frequency=20, warn_stalled_after=60)(type("busy", (), {}))
    livecheck.case(name="quiet")(type("quiet", (), {}))


@pytest.mark.promise("Every entry that LiveCheck adds to beat is visible in `beat_schedule`.", theme="schedules")
def test_every_entry_is_in_plain_sight() -> None:
    app = make_app()
    declare(LiveCheck(app))
    entries = app.conf.beat_schedule
    assert set(entries) == {"livecheck:recover", "livecheck:stalled", "livecheck:busy:frequency"}
    assert entries["livecheck:busy:frequency"]["schedule"] == 20
    assert entries["livecheck:busy:frequency"]["kwargs"] == {"livecheck_case": "busy"}
    assert {entry["options"]["queue"] for entry in entries.values()} == {"livecheck.schedule"}


@pytest.mark.parametrize(
    ("allowed", "every"), [((), 30), ((1800, 3600), 30), ((60, 1800), 15), ((1800, 30.0), 7.5), ((1.0,), 1.0)]
)
def test_one_check_for_all_cases_is_as_frequent_as_the_most_urgent_needs(allowed: list[float], every: float) -> None:
    app = make_app()
    first, second = LiveCheck(app), LiveCheck(app)
    for number, seconds in enumerate(allowed):
        app.conf.beat_schedule  # noqa: B018 - configures the app, as some host does before the last case
        suite = second if number else first
        suite.case(name=f"c{number}", warn_stalled_after=seconds)(type("c", (), {}))
    assert app.conf.beat_schedule["livecheck:stalled"]["schedule"] == every
    assert not [name for name in app.conf.beat_schedule if name.endswith(":stalled") and name != "livecheck:stalled"]


@pytest.mark.parametrize("url", ["http://dead.man/switch", "https://dead.man:8443/x?y=z"])
def test_there_is_a_heartbeat_where_there_is_a_url_for_it(url: str) -> None:
    app = make_app()
    LiveCheck(app, heartbeat_url=url)
    assert app.conf.beat_schedule["livecheck:heartbeat"]["schedule"] == 60


def test_a_fake_request_that_waited_for_longer_than_its_period_is_dropped() -> None:
    app = make_app()
    declare(LiveCheck(app))
    options = app.conf.beat_schedule["livecheck:busy:frequency"]["options"]
    assert (options["expires"], options["expire_seconds"]) == (20, 20)


def test_entries_survive_a_configuration_that_is_loaded_later() -> None:
    app = make_app()
    declare(LiveCheck(app))
    app.config_from_object({"broker_url": "redis://other/0", "beat_schedule": {"mine": {"task": "t", "schedule": 1}}})
    assert {"mine", "livecheck:busy:frequency", "livecheck:recover"} <= set(app.conf.beat_schedule)


@pytest.mark.parametrize(
    ("every", "period"),
    [(30.0, 30.0), (crontab(), 60.0), (crontab(minute=0), 3600.0), (crontab(minute=0, hour=3), 86400.0)],
)
def test_the_period_of_a_schedule_is_the_time_between_two_runs(every: float | crontab, period: float) -> None:
    # With a change to or from summer time in between, a day has an hour more or less.
    assert period_of(every) == pytest.approx(period, abs=3601 if period == 86400 else 1)


@pytest.mark.parametrize("frequency", [30.0, schedule(30.0)])
def test_a_run_may_come_half_a_period_early(frequency: float | schedule) -> None:
    assert window_of(frequency) == (30.0, 15.0)


@pytest.mark.parametrize(
    ("now", "following"),
    [("10:30:00", "10:50"), ("10:30:07", "10:50"), ("10:49:50", "10:50"), ("10:49:58", "11:00"), ("10:50:01", "11:00")],
)
def test_the_run_after_one_of_an_uneven_schedule_is_when_the_schedule_says(now: str, following: str) -> None:
    def at(time: str) -> datetime:
        return datetime.fromisoformat(f"2026-03-02T{time}+00:00")

    uneven = crontab(minute="0,30,50", nowfun=lambda: at(now), app=make_app())
    assert window_of(uneven) == ((at(following) - at(now)).total_seconds(), 5.0)


def test_a_crontab_may_be_a_frequency() -> None:
    app = make_app()
    frequency = crontab(minute="*/10")
    LiveCheck(app).case(name="c", frequency=frequency)(type("c", (), {}))
    entry = app.conf.beat_schedule["livecheck:c:frequency"]
    assert entry["schedule"] is frequency
    assert entry["options"]["expires"] == pytest.approx(600, abs=1)


def test_entries_survive_a_schedule_that_is_assigned_later() -> None:
    app = make_app()
    declare(LiveCheck(app))
    app.conf.beat_schedule = {"mine": {"task": "t", "schedule": 1}}
    app.loader.import_default_modules()  # as beat does when it starts
    assert {"mine", "livecheck:busy:frequency", "livecheck:recover"} <= set(app.conf.beat_schedule)


def test_an_entry_that_the_host_has_changed_stays_as_it_is() -> None:
    app = make_app()
    livecheck = LiveCheck(app)
    app.conf.beat_schedule["livecheck:recover"]["schedule"] = 0.5
    declare(livecheck)
    app.conf.beat_schedule["livecheck:stalled"]["schedule"] = 7
    livecheck.case(name="urgent", warn_stalled_after=8)(type("urgent", (), {}))
    livecheck.schedule_all()
    assert app.conf.beat_schedule["livecheck:recover"]["schedule"] == 0.5
    assert app.conf.beat_schedule["livecheck:stalled"]["schedule"] == 7
    assert "livecheck:busy:frequency" in app.conf.beat_schedule


def test_of_an_uneven_schedule_each_run_is_made_once(
    store: Store, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    midnight = datetime.fromisoformat("2026-03-02T00:00:00+00:00").timestamp()
    clock = midnight
    monkeypatch.setattr(time, "time", lambda: clock)
    uneven = crontab(minute="0,30,50", nowfun=lambda: datetime.fromtimestamp(clock, UTC), app=make_app())
    made = []
    for run in (60 * minute + 3600 * hour for hour in range(5) for minute in (0, 30, 50)):
        # Two beats, one of them ahead of its time, and a message that waited for its worker.
        for number, late in enumerate((-1.5, 0.2, 100.0)):
            clock = midnight + run + late
            token = f"{run}-{number}"
            if store.schedule_runs.claim(CASE, window_of(uneven), token=token, lease=9):
                made.append(run)
                assert store.schedule_runs.finish(CASE, token)
    assert made == [60 * minute + 3600 * hour for hour in range(5) for minute in (0, 30, 50)]
