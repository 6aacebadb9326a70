"""Signs of life of beat, its stale entries, and the start of a worker."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.beat import PersistentScheduler
from celery.signals import after_task_publish
from kombu.exceptions import OperationalError

from livecheck_celery import LiveCheck, State
from livecheck_celery.tasks import lifecycle
from livecheck_celery.tasks.lifecycle import Lifecycle
from tests.helpers.order_case import outcomes
from tests.helpers.scripts import run_script
from tests.helpers.waiting import wait_until


@pytest.fixture(autouse=True)
def no_other_receivers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disconnect the beats of earlier tests."""
    monkeypatch.setattr(after_task_publish, "receivers", [])


class Beat:
    """The sender of the signals of Celery's beat."""

    def __init__(self, app: Celery, schedule: dict[str, Any] | None = None) -> None:
        self.app = app
        self.scheduler = SimpleNamespace(schedule=schedule or {})


@pytest.mark.parametrize("task", ["livecheck.recover", "livecheck.stalled"])
def test_beat_records_a_sign_of_life_when_the_broker_accepts_a_message(livecheck: LiveCheck, task: str) -> None:
    receiver = Lifecycle(livecheck.app, [livecheck])
    receiver.start_beat(sender=Beat(Celery("another", set_as_current=False)))
    livecheck.app.send_task(task, queue="livecheck.schedule")
    assert livecheck.runtime.store.liveness.read() == (None, None)
    receiver.start_beat(sender=Beat(livecheck.app))
    assert livecheck.runtime.store.liveness.read() == (None, None), "it can be waiting for another beat to end"
    livecheck.app.send_task("shop.other", queue="livecheck.schedule")
    assert livecheck.runtime.store.liveness.read() == (None, None)
    livecheck.app.send_task(task, queue="livecheck.schedule")
    assert livecheck.runtime.store.liveness.read() == (pytest.approx(0, abs=5), None)


def test_beat_records_no_sign_of_life_when_sending_fails(redis_url: str) -> None:
    app = Celery("shop", broker="redis://127.0.0.1:1/0", set_as_current=False)
    livecheck = LiveCheck(app, redis_url=redis_url)
    Lifecycle(app, [livecheck]).start_beat(sender=Beat(app))
    with pytest.raises(OperationalError):
        app.send_task("livecheck.recover", queue="livecheck.schedule", retry=False)
    assert livecheck.runtime.store.liveness.read() == (None, None)
    livecheck.close()


def test_stored_beat_entries_of_removed_cases_are_deleted(case: Any) -> None:
    """Those of django-celery-beat's database, which have a model."""
    deleted: list[str] = []

    def stored(name: str, queue: str = "livecheck.schedule") -> Any:
        model = SimpleNamespace(delete=lambda: deleted.append(name))
        return SimpleNamespace(options={"queue": queue}, model=model)

    names = ["livecheck:gone:frequency", "livecheck:gone:stalled", "livecheck:recover", "hosts:own"]
    schedule = {name: stored(name) for name in names}
    schedule["livecheck:elsewhere:frequency"] = stored("livecheck:elsewhere:frequency", "another.schedule")
    schedule["livecheck:not-stored:frequency"] = SimpleNamespace(options={"queue": "livecheck.schedule"})
    schedule[f"livecheck:{case.name}:frequency"] = stored("an entry of a declared case")
    case.app.schedule_all()
    Lifecycle(case.app.app, [case.app]).start_beat(sender=Beat(case.app.app, schedule))
    assert deleted == ["livecheck:gone:frequency", "livecheck:gone:stalled"]


def test_beat_sends_again_after_a_start_with_a_clock_that_was_ahead(case: Any, tmp_path: Path) -> None:
    """Celery's beat keeps the time of each last run in a file, and would be silent until those times."""
    app, file = case.app.app, str(tmp_path / "schedule")
    case.app.schedule_all()
    app.conf.beat_schedule["hosts:own"] = {"task": "shop.own", "schedule": 1.0}
    ahead = PersistentScheduler(app, schedule_filename=file, lazy=True)
    ahead.setup_schedule()
    own = [entry for name, entry in ahead.schedule.items() if name.startswith("livecheck:")]
    assert own
    for entry in ahead.schedule.values():
        entry.last_run_at += timedelta(hours=4)
    ahead.close()
    scheduler = PersistentScheduler(app, schedule_filename=file, lazy=True)
    scheduler.setup_schedule()
    try:
        Lifecycle(app, [case.app]).start_beat(sender=SimpleNamespace(app=app, scheduler=scheduler))
        left = {name: entry.is_due().next for name, entry in scheduler.schedule.items()}
        assert left.pop("hosts:own") > 3600, "an entry of the host stays as it is"
        del left["celery.backend_cleanup"]
        assert left
        assert max(left.values()) < 60, left
    finally:
        scheduler.close()


def test_case_can_stall_from_the_first_worker_start_without_beat(case: Any) -> None:
    case.warn_stalled_after = 0.3
    assert case.status is State.INIT
    for _ in range(2):
        lifecycle._start(case.app)
    wait_until(lambda: case.status is State.STALL, what="STALL without a check")
    assert outcomes(case) == []


EMBEDDED = """
from celery import Celery
from celery.contrib.testing.worker import start_worker
from livecheck_celery import Case, LiveCheck, Signal
from tests.helpers.order_case import outcomes
from tests.helpers.waiting import wait_until

app = Celery("shop", broker={url!r}, set_as_current=False)
livecheck = LiveCheck(app)

@livecheck.case(name="shop.test_order")
class test_order(Case):
    sent: Signal[int]

    def run(self):
        self.sent.wait(timeout=10)

workers = {{"pool": "threads", "concurrency": 4, "queues": ["livecheck"], "perform_ping_check": False}}
for number in range(2):
    with start_worker(app, shutdown_timeout=5.0, **workers):
        test = test_order.trigger()
        test_order.sent.send(7, key=test.id, force=True)
        # The second worker also runs the test that the first one handed back.
        wait_until(lambda: len(outcomes(test_order)) == 2 * number + 1, what="the verdicts")
        waiting = test_order.trigger()
        wait_until(lambda: livecheck.runtime.leases.held, what="a test that waits")
    test_order.sent.send(7, key=waiting.id, force=True)
assert {{state.value for state, _ in outcomes(test_order)}} == {{"PASS"}}
livecheck.close()
"""


def test_embedded_workers_of_a_process_run_tests_one_after_the_other(redis_url: str) -> None:
    """A host's test suite starts a worker for each test, and carries on after its end."""
    script = EMBEDDED.format(url=redis_url)  # in a process of its own, since Celery changes the logging of the process
    run_script(script)
