"""Schedules with two beats and a worker, and then with an outage of the worker."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
import redis

from livecheck_celery import State
from tests.helpers.livecheck_client import Client, reports_of
from tests.helpers.programs import Program, Programs
from tests.helpers.waiting import wait_until

#: Arguments of the messages of a case: whose environment sends them, and in which layout.
SENT = "livecheck_prefix='livecheck', livecheck_layout=1"
WORKER = "celery -A clockwork worker -Q celery,livecheck,livecheck.schedule -P threads -c 20"


@pytest.fixture(scope="module")
def beats(shared_programs: Programs) -> list[Program]:
    return [shared_programs.start(f"celery -A clockwork beat -s schedule-{number} -l DEBUG") for number in range(2)]


@pytest.fixture(scope="module")
def worker(beats: list[Program], shared_programs: Programs) -> Program:
    return shared_programs.start_worker(WORKER)


@pytest.fixture
def notes(shared_programs: Programs) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(shared_programs.url, decode_responses=True) as client:
        yield client


def requests(notes: redis.Redis) -> list[float]:
    """Return when fake requests were made, in seconds since the epoch."""
    return [float(time) for time in notes.lrange("clockwork:steady", 0, -1)]


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(times)]


def test_entries_of_beat_are_logged(beats: list[Program]) -> None:
    for name, task, frequency in (
        ("test_steady:frequency", "fake_request", "<freq: 1.00 second>"),
        ("test_every_two_hours:frequency", "fake_request", "<crontab: 0 */2 * * * (m/h/dM/MY/d)>"),
    ):
        case = f"clockwork.{name.partition(':')[0]}"
        beats[0].wait_for(
            f"<ScheduleEntry: livecheck:clockwork.{name} livecheck.{task}(livecheck_case='{case}', {SENT}) {frequency}"
        )
    beats[0].wait_for("<ScheduleEntry: livecheck:stalled livecheck.stalled() <freq: 1.00 second>")
    beats[0].wait_for("<ScheduleEntry: livecheck:recover livecheck.recover() <freq: 3.00 seconds>")


def test_fake_request_stays_marked_through_tasks(worker: Program, client: Client) -> None:
    case = client.case("clockwork.test_steady")
    wait_until(lambda: case.total_by_state[State.PASS] >= 2, what="two passes")
    reports = reports_of(case)
    assert {(report.state, report.error) for report in reports} == {(State.PASS, None)}
    assert {report.test.synthetic for report in reports} == {True}


def test_frequency_can_be_a_celery_schedule(worker: Program, client: Client) -> None:
    case = client.case("clockwork.test_on_a_celery_schedule")
    wait_until(lambda: case.total_by_state[State.PASS] >= 2, what="two passes")


def test_two_beats_make_one_request_per_period(beats: list[Program], worker: Program, notes: redis.Redis) -> None:
    wait_until(lambda: len(requests(notes)) >= 5, what="five fake requests")
    for beat in beats:
        beat.wait_for("livecheck.fake_request sent", count=5)
    between = gaps(requests(notes))
    assert min(between) > 0.3
    assert sum(between) / len(between) == pytest.approx(1.0, abs=0.25)


@pytest.mark.promise("A stall is reported once per `warn_stalled_after`.", theme="schedules")
def test_stall_is_reported_once_per_period(worker: Program, client: Client) -> None:
    case = client.case("clockwork.test_untriggered")
    wait_until(lambda: len(reports_of(case)) >= 3, what="three reports")
    reports = reports_of(case)
    assert {report.state for report in reports} == {State.STALL}
    assert {report.test for report in reports} == {None}
    assert "no test received for" in reports[-1].error
    between = gaps([report.at for report in reports])
    assert min(between) > 0.9
    assert sum(between) / len(between) < 2.7, "the check comes every second"
    assert case.status is State.STALL
    assert case.total_by_state == {}


@pytest.mark.promise(
    "After an outage of beat or of the workers there is one fake request, not a burst.",
    theme="schedules",
)
def test_outage_of_the_worker_causes_no_burst(
    beats: list[Program], worker: Program, notes: redis.Redis, shared_programs: Programs
) -> None:
    worker.terminate()
    assert worker.wait_exit() == 0
    made = len(requests(notes))
    missed = beats[0].output().count("livecheck.fake_request sent") + 10
    beats[0].wait_for("livecheck.fake_request sent", count=missed)
    assert notes.llen("livecheck.schedule") > 20
    assert len(requests(notes)) == made

    worker = shared_programs.start_worker(WORKER)
    wait_until(lambda: len(requests(notes)) >= made + 3, what="three more fake requests")
    worker.wait_for("Discarding revoked task: livecheck.fake_request")
    after_the_outage = gaps(requests(notes)[made:])
    assert min(after_the_outage) > 0.3
    assert sum(after_the_outage) / len(after_the_outage) == pytest.approx(1.0, abs=0.4)
