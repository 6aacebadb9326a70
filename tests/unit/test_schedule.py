from __future__ import annotations

import pytest
from celery import Celery
from celery.schedules import crontab

from livecheck_celery import LiveCheck
from livecheck_celery.schedule import period_of


def make_app() -> Celery:
    return Celery("shop", set_as_current=False, broker="redis://b/0")


def declare(livecheck: LiveCheck) -> None:
    livecheck.case(name="busy", frequency=20, warn_stalled_after=60)(type("busy", (), {}))
    livecheck.case(name="quiet")(type("quiet", (), {}))


def test_every_case_has_its_entries_in_plain_sight() -> None:
    app = make_app()
    declare(LiveCheck(app))
    entries = app.conf.beat_schedule
    assert set(entries) == {
        "livecheck:recover",
        "livecheck:busy:frequency",
        "livecheck:busy:stalled",
        "livecheck:quiet:stalled",
    }
    assert entries["livecheck:busy:frequency"]["schedule"] == 20
    assert entries["livecheck:busy:frequency"]["options"]["queue"] == "livecheck.schedule"
    assert entries["livecheck:busy:stalled"]["schedule"] == 15
    assert entries["livecheck:quiet:stalled"]["schedule"] == 30


def test_a_fake_request_that_waited_for_longer_than_its_period_is_dropped() -> None:
    app = make_app()
    declare(LiveCheck(app))
    assert app.conf.beat_schedule["livecheck:busy:frequency"]["options"]["expires"] == 20


def test_entries_survive_a_configuration_that_is_loaded_later() -> None:
    app = make_app()
    declare(LiveCheck(app))
    app.config_from_object({"broker_url": "redis://other/0", "beat_schedule": {"mine": {"task": "t", "schedule": 1}}})
    assert {"mine", "livecheck:busy:frequency", "livecheck:recover"} <= set(app.conf.beat_schedule)


@pytest.mark.parametrize(
    ("schedule", "period"),
    [(30.0, 30.0), (crontab(), 60.0), (crontab(minute=0), 3600.0), (crontab(minute=0, hour=3), 86400.0)],
)
def test_the_period_of_a_schedule_is_the_time_between_two_runs(schedule: float | crontab, period: float) -> None:
    # With a change to or from summer time in between, a day has an hour more or less.
    assert period_of(schedule) == pytest.approx(period, abs=3601 if period == 86400 else 1)


def test_a_crontab_may_be_a_frequency() -> None:
    app = make_app()
    schedule = crontab(minute="*/10")
    LiveCheck(app).case(name="c", frequency=schedule)(type("c", (), {}))
    entry = app.conf.beat_schedule["livecheck:c:frequency"]
    assert entry["schedule"] is schedule
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
    livecheck.schedule_all()
    assert app.conf.beat_schedule["livecheck:recover"]["schedule"] == 0.5
    assert "livecheck:busy:frequency" in app.conf.beat_schedule
