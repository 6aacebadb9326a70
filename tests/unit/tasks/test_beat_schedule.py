"""LiveCheck's entries in the beat schedule, their periods, and the runs they make."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from celery import Celery
from celery.schedules import crontab, schedule

from livecheck_celery import Case, LiveCheck
from livecheck_celery.config import Settings
from livecheck_celery.delivery.publisher import addressed
from livecheck_celery.store import Store
from livecheck_celery.tasks import beat_schedule
from livecheck_celery.tasks.beat_schedule import BeatSchedule, period_of, window_of
from tests.helpers.factories import CASE


def make_app() -> Celery:
    return Celery("shop", set_as_current=False, broker="redis://b/0")


def declare(livecheck: LiveCheck) -> None:
    livecheck.case(name="busy", frequency=20, warn_stalled_after=60)(type("busy", (), {}))
    livecheck.case(name="quiet")(type("quiet", (), {}))


@pytest.mark.promise("Every entry that LiveCheck adds to beat is visible in `beat_schedule`.", theme="schedules")
def test_every_entry_is_in_the_beat_schedule() -> None:
    app = make_app()
    declare(LiveCheck(app))
    entries = app.conf.beat_schedule
    assert set(entries) == {"livecheck:recover", "livecheck:stalled", "livecheck:busy:frequency"}
    assert entries["livecheck:busy:frequency"]["schedule"] == 20
    assert entries["livecheck:busy:frequency"]["kwargs"] == addressed("busy", "livecheck")
    assert {entry["options"]["queue"] for entry in entries.values()} == {"livecheck.schedule"}


@pytest.mark.parametrize(
    ("allowed", "every"),
    [((), 30), ((1800, 3600), 30), ((60, 1800), 15), ((1800, 30.0), 7.5), ((20, 1800, 8), 2.0), ((1.0,), 1.0)],
)
def test_stalled_check_runs_at_a_quarter_of_the_shortest_limit(allowed: list[float], every: float) -> None:
    app = make_app()
    first, second = LiveCheck(app), LiveCheck(app)
    for number, seconds in enumerate(allowed):
        app.conf.beat_schedule  # noqa: B018 - configures the app before the last case is declared
        livecheck = second if number else first
        livecheck.case(name=f"c{number}", warn_stalled_after=seconds)(type("c", (), {}))
    assert app.conf.beat_schedule["livecheck:stalled"]["schedule"] == every
    assert not [name for name in app.conf.beat_schedule if name.endswith(":stalled") and name != "livecheck:stalled"]


@pytest.mark.parametrize("url", ["http://dead.man/switch", "https://dead.man:8443/x?y=z"])
def test_heartbeat_is_scheduled_when_it_has_a_url(url: str) -> None:
    app = make_app()
    LiveCheck(app, heartbeat_url=url)
    assert app.conf.beat_schedule["livecheck:heartbeat"]["schedule"] == 60


def test_fake_request_expires_after_its_period() -> None:
    app = make_app()
    declare(LiveCheck(app))
    options = app.conf.beat_schedule["livecheck:busy:frequency"]["options"]
    assert (options["expires"], options["expire_seconds"]) == (20, 20)


def test_entries_survive_a_configuration_loaded_later() -> None:
    app = make_app()
    declare(LiveCheck(app))
    app.config_from_object({"broker_url": "redis://other/0", "beat_schedule": {"mine": {"task": "t", "schedule": 1}}})
    assert {"mine", "livecheck:busy:frequency", "livecheck:recover"} <= set(app.conf.beat_schedule)


@pytest.mark.parametrize(
    ("every", "period"),
    [(30.0, 30.0), (crontab(), 60.0), (crontab(minute=0), 3600.0), (crontab(minute=0, hour=3), 86400.0)],
)
def test_period_is_the_time_between_two_runs(every: float | crontab, period: float) -> None:
    # A day with a change of summer time is an hour longer or shorter.
    assert period_of(every) == pytest.approx(period, abs=3601 if period == 86400 else 1)


@pytest.mark.parametrize("frequency", [30.0, schedule(30.0)])
def test_run_of_an_interval_can_be_half_a_period_early(frequency: float | schedule) -> None:
    assert window_of(frequency) == (30.0, 15.0)


@pytest.mark.parametrize(
    ("now", "following"),
    [("10:30:00", "10:50"), ("10:30:07", "10:50"), ("10:49:50", "10:50"), ("10:49:58", "11:00"), ("10:50:01", "11:00")],
)
def test_window_of_a_crontab_lasts_until_its_next_run(now: str, following: str) -> None:
    def at(time: str) -> datetime:
        return datetime.fromisoformat(f"2026-03-02T{time}+00:00")

    uneven = crontab(minute="0,30,50", nowfun=lambda: at(now), app=make_app())
    assert window_of(uneven) == ((at(following) - at(now)).total_seconds(), 5.0)


def test_crontab_can_be_a_frequency() -> None:
    app = make_app()
    frequency = crontab(minute="*/10")
    LiveCheck(app).case(name="c", frequency=frequency)(type("c", (), {}))
    entry = app.conf.beat_schedule["livecheck:c:frequency"]
    assert entry["schedule"] is frequency
    assert entry["options"]["expires"] == pytest.approx(600, abs=1)


def test_entries_survive_a_schedule_assigned_later() -> None:
    app = make_app()
    declare(LiveCheck(app))
    app.conf.beat_schedule = {"mine": {"task": "t", "schedule": 1}}
    app.loader.import_default_modules()  # as beat does when it starts
    assert {"mine", "livecheck:busy:frequency", "livecheck:recover"} <= set(app.conf.beat_schedule)


def test_entry_changed_by_the_host_is_kept() -> None:
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


def test_each_run_of_an_uneven_crontab_is_made_once(
    store: Store, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    midnight = datetime.fromisoformat("2026-03-02T00:00:00+00:00").timestamp()
    clock = midnight
    monkeypatch.setattr(time, "time", lambda: clock)
    uneven = crontab(minute="0,30,50", nowfun=lambda: datetime.fromtimestamp(clock, UTC), app=make_app())
    made = []
    for run in (60 * minute + 3600 * hour for hour in range(5) for minute in (0, 30, 50)):
        # Two beats, one of them early, and a message that waited for a worker.
        for number, late in enumerate((-1.5, 0.2, 100.0)):
            clock = midnight + run + late
            token = f"{run}-{number}"
            if store.schedule_runs.claim(CASE, window_of(uneven), token=token, lease=9):
                made.append(run)
                assert store.schedule_runs.finish(CASE, token)
    assert made == [60 * minute + 3600 * hour for hour in range(5) for minute in (0, 30, 50)]


def test_declaring_a_case_makes_only_its_own_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    livecheck = LiveCheck(make_app())
    scheduled: list[str] = []
    entries = beat_schedule.case_entries

    def count(case: Case, settings: Settings) -> dict[str, Any]:
        scheduled.append(case.name)
        return entries(case, settings)

    monkeypatch.setattr(beat_schedule, "case_entries", count)
    assert livecheck.app.conf.beat_schedule is not None  # configures the app
    names = [f"shop.test_{number}" for number in range(20)]
    for name in names:
        livecheck.add_case(type("test_order", (Case,), {}), name=name, frequency=30)
    assert [name for name in scheduled if name in names] == names


def test_declaring_a_case_without_an_entry_does_not_resolve_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    livecheck = LiveCheck(make_app())
    entries = livecheck.app.conf.beat_schedule  # configures the app
    livecheck.add_case(type("test_order", (Case,), {}), name="shop.first")
    resolved: list[Settings] = []
    resolve = livecheck._resolve_settings
    monkeypatch.setattr(livecheck, "_resolve_settings", lambda: resolved.append(resolve()) or resolved[-1])
    for number in range(20):
        livecheck.add_case(type("test_order", (Case,), {}), name=f"shop.test_{number}", warn_stalled_after=1800)
    assert resolved == []
    livecheck.add_case(type("test_order", (Case,), {}), name="shop.urgent", warn_stalled_after=40)
    assert resolved
    assert entries["livecheck:stalled"]["schedule"] == 10


def test_adding_a_case_adds_its_entry_to_those_of_the_host() -> None:
    app, livecheck = make_app(), LiveCheck(make_app())
    app.conf.beat_schedule = {"mine": {"task": "t", "schedule": 1}}
    entries = BeatSchedule(app)
    entries.add([], livecheck.settings)
    assert set(app.conf.beat_schedule) == {"mine", "livecheck:recover", "livecheck:stalled"}
    entries.add([livecheck.add_case(Case, name="c", frequency=30.0)], livecheck.settings)
    assert set(app.conf.beat_schedule) == {"mine", "livecheck:recover", "livecheck:stalled", "livecheck:c:frequency"}
    assert app.conf.beat_schedule["mine"] == {"task": "t", "schedule": 1}


def test_entry_replaced_by_the_host_is_kept_and_a_removed_one_added_again() -> None:
    app, livecheck = make_app(), LiveCheck(make_app())
    cases = [livecheck.add_case(Case, name="c", frequency=30.0)]
    entries = BeatSchedule(app)
    entries.add(cases, livecheck.settings)
    mine = {"task": "shop.other", "schedule": 5}
    app.conf.beat_schedule["livecheck:c:frequency"] = mine
    del app.conf.beat_schedule["livecheck:stalled"]
    entries.add(cases, livecheck.settings)
    assert app.conf.beat_schedule["livecheck:c:frequency"] is mine
    assert "livecheck:stalled" in app.conf.beat_schedule
