"""Signs of life of beat, and its stale entries."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.signals import after_task_publish
from kombu.exceptions import OperationalError

from livecheck_celery import LiveCheck
from livecheck_celery.tasks.lifecycle import Lifecycle


@pytest.fixture(autouse=True)
def nobody_else_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """No beat of an earlier test notes what this one sends."""
    monkeypatch.setattr(after_task_publish, "receivers", [])


class Beat:
    """As the signals of Celery's beat show it."""

    def __init__(self, app: Celery, schedule: dict[str, Any] | None = None) -> None:
        self.app = app
        self.scheduler = SimpleNamespace(schedule=schedule or {})


@pytest.mark.parametrize("task", ["livecheck.recover", "livecheck.stalled"])
def test_beat_records_a_sign_of_life_when_the_broker_accepts_a_message(livecheck: LiveCheck, task: str) -> None:
    ours = Lifecycle(livecheck.app, [livecheck])
    ours.start_beat(sender=Beat(Celery("another", set_as_current=False)))
    livecheck.app.send_task(task, queue="livecheck.schedule")
    assert livecheck.runtime.store.liveness.read() == (None, None)
    ours.start_beat(sender=Beat(livecheck.app))
    assert livecheck.runtime.store.liveness.read() == (None, None), "it may be waiting for another beat to end"
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
    """From django-celery-beat's database, whose entries have a model."""
    deleted: list[str] = []

    def kept(name: str, queue: str = "livecheck.schedule") -> Any:
        model = SimpleNamespace(delete=lambda: deleted.append(name))
        return SimpleNamespace(options={"queue": queue}, model=model)

    names = ["livecheck:gone:frequency", "livecheck:gone:stalled", "livecheck:recover", "hosts:own"]
    schedule = {name: kept(name) for name in names}
    schedule["livecheck:elsewhere:frequency"] = kept("livecheck:elsewhere:frequency", "another.schedule")
    schedule["livecheck:forgotten:frequency"] = SimpleNamespace(options={"queue": "livecheck.schedule"})
    schedule[f"livecheck:{case.name}:frequency"] = kept("the case that is there")
    case.app.schedule_all()
    Lifecycle(case.app.app, [case.app]).start_beat(sender=Beat(case.app.app, schedule))
    assert deleted == ["livecheck:gone:frequency", "livecheck:gone:stalled"]
