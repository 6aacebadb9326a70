"""Every scheduler of beat: several beats, beats and workers that are killed, and cases that are removed."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise

import pytest
import redis

from tests.helpers.http_server import running
from tests.helpers.livecheck_client import Client
from tests.helpers.programs import Program, Programs
from tests.helpers.waiting import wait_until

WORKER = "celery -A keeper worker -Q livecheck,livecheck.schedule -P threads -c 20"


class Scheduler:
    """Celery's default scheduler, with a file for each beat."""

    def __init__(self, programs: Programs) -> None:
        self.programs = programs
        self._started = 0

    def start(self, **env: str) -> Program:
        """Start a beat."""
        self._started += 1
        beat = self.programs.start(f"celery -A keeper beat -l INFO {self.options()}", **self.env(), **env)
        beat.wait_for("beat: Starting...")
        return beat

    def options(self) -> str:
        return f"-s schedule-{self._started}"

    def env(self) -> dict[str, str]:
        return {"KEEPER_EVERY": "1"}

    def kept(self) -> set[str]:
        """Return the names of the entries that are stored outside beat."""
        raise NotImplementedError


class RedBeat(Scheduler):
    """RedBeat: entries in Redis; one beat holds a lock and sends, the others wait."""

    def options(self) -> str:
        return "-S redbeat.RedBeatScheduler"

    def kept(self) -> set[str]:
        with redis.Redis.from_url(self.programs.url, decode_responses=True) as client:
            return {key.removeprefix("redbeat:") for key in client.scan_iter("redbeat:livecheck:*")}


class Django(Scheduler):
    """django-celery-beat: entries in the database, without a lock."""

    def __init__(self, programs: Programs) -> None:
        super().__init__(programs)
        self.database = programs.directory / "schedule.sqlite3"
        assert programs.start("django-admin migrate", **self.env()).wait_exit(60) == 0

    def options(self) -> str:
        return "-S django_celery_beat.schedulers:DatabaseScheduler"

    def env(self) -> dict[str, str]:
        return {**super().env(), "DJANGO_SETTINGS_MODULE": "keeper_django", "KEEPER_DATABASE": str(self.database)}

    def rows(self) -> list[tuple[str, int, str]]:
        with closing(sqlite3.connect(self.database, timeout=10)) as connection:
            return connection.execute(
                "SELECT name, expire_seconds, queue FROM django_celery_beat_periodictask"
            ).fetchall()

    def kept(self) -> set[str]:
        return {name for name, _, _ in self.rows() if name.startswith("livecheck:")}


@pytest.fixture
def notes(programs: Programs) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(programs.url, decode_responses=True) as client:
        yield client


def requests(notes: redis.Redis) -> list[float]:
    return [float(at) for at in notes.lrange("keeper:steady", 0, -1)]


def now(notes: redis.Redis) -> float:
    seconds, microseconds = notes.time()
    return seconds + microseconds / 1_000_000


def wait_requests(notes: redis.Redis, more: int) -> None:
    wanted = len(requests(notes)) + more
    wait_until(lambda: len(requests(notes)) >= wanted, 60, f"{more} more fake requests")


@pytest.mark.promise(
    "Any number of beats makes one fake request per period, on Celery's scheduler, RedBeat and django-celery-beat.",
    theme="schedules",
)
@pytest.mark.parametrize("kind", [Scheduler, RedBeat, Django])
def test_one_request_per_period_while_beats_are_killed(
    programs: Programs, client: Client, notes: redis.Redis, kind: type[Scheduler]
) -> None:
    scheduler = kind(programs)
    programs.start_worker(WORKER)
    beats = [scheduler.start() for _ in range(2)]
    wait_requests(notes, 4)
    wait_until(lambda: None not in client.store.liveness.read(), 20, "signs of life")
    beats[0].kill()
    wait_requests(notes, 3)
    beats[1].kill()
    wait_until(lambda: now(notes) - requests(notes)[-1] > 2, 20, "an outage")
    scheduler.start()
    wait_requests(notes, 4)
    assert min(later - earlier for earlier, later in pairwise(requests(notes))) > 0.3


@pytest.mark.parametrize("kind", [RedBeat, Django])
def test_stored_entries_match_the_cases(programs: Programs, kind: type[Scheduler]) -> None:
    scheduler = kind(programs)
    common = {"livecheck:recover", "livecheck:stalled"}
    staying = {f"livecheck:keeper.test_{name}:frequency" for name in ("steady", "fatal")}
    scheduler.start()
    wait_until(
        lambda: scheduler.kept() == common | staying | {"livecheck:keeper.test_leaving:frequency"}, 20, "entries"
    )
    for program in programs._started:
        program.kill()
    scheduler.start(KEEPER_WITHOUT="leaving")
    wait_until(lambda: scheduler.kept() == common | staying, 20, "the removal of an entry")
    if isinstance(scheduler, Django):
        entries = {name: (expires, queue) for name, expires, queue in scheduler.rows()}
        assert entries["livecheck:keeper.test_steady:frequency"] == (1, "livecheck.schedule")


@pytest.mark.promise("A fake request whose worker was killed is made again within its period.", theme="schedules")
def test_fake_request_of_a_killed_worker_is_made_by_another(
    programs: Programs, client: Client, notes: redis.Redis
) -> None:
    def request() -> None:
        for _ in range(2):  # as two beats would
            kwargs = {"livecheck_case": "keeper.test_fatal"}
            client.app.send_task("livecheck.fake_request", kwargs=kwargs, queue="livecheck.schedule")

    programs.start("celery -A keeper beat", KEEPER_EVERY="0.5")
    first = programs.start_worker(f"{WORKER} -n first@%h")
    request()
    wait_until(lambda: notes.llen("keeper:begun") == 1, 20, "the start of a fake request")
    first.kill()
    second = programs.start_worker(f"{WORKER} -n second@%h")
    wait_until(lambda: notes.llen("keeper:begun") == 2, 20, "a second attempt")
    second.wait_for("run not finished by its worker, re-sending it")
    request()
    notes.rpush("keeper:go", 1)
    wait_until(lambda: notes.llen("keeper:made") == 1, 20, "the end of the fake request")
    before = second.output().count("Task livecheck.recover")
    second.wait_for("Task livecheck.recover", count=before + 6)
    assert (notes.llen("keeper:begun"), notes.llen("keeper:made")) == (2, 1)


@pytest.mark.promise(
    "A dead beat is visible in `livecheck doctor` and `livecheck status`, and `heartbeat_url` is no longer pinged.",
    theme="schedules",
)
def test_heartbeat_url_is_not_pinged_without_beat(programs: Programs) -> None:
    with running() as switch:
        env = {"LIVECHECK_HEARTBEAT_URL": switch.url(path="/ping"), "KEEPER_EVERY": "0.5"}
        programs.start_worker(f"{WORKER} -n only@%h", **env)
        beat = programs.start("celery -A keeper beat", **env)
        seen, since = 0, time.monotonic()

        def silence() -> float:
            nonlocal seen, since
            if seen != len(switch.received):
                seen, since = len(switch.received), time.monotonic()
            return time.monotonic() - since

        wait_until(lambda: len(switch.received) >= 3, 30, "three pings")
        assert {(one.method, one.target) for one in switch.received} == {("GET", "/ping")}
        beat.kill()
        wait_until(lambda: silence() > 3, 20, "no more pings")
        programs.start("celery -A keeper beat", **env)
        before = len(switch.received)
        wait_until(lambda: len(switch.received) > before, 30, "another ping")
