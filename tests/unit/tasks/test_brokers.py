"""One broker for the tests and the workers that execute them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from livecheck_celery import Case, ConfigurationError, LiveCheck
from livecheck_celery.cli.doctor.workers import check_app_broker
from livecheck_celery.tasks.brokers import check_one_broker
from livecheck_celery.tasks.lifecycle import Lifecycle

OTHER = "redis://:hunter2@other:6379/3"


def make(broker: str | None = "redis://:hunter2@mine/1", **conf: Any) -> LiveCheck:
    app = Celery("shop", broker=broker, set_as_current=False)
    app.conf.update({"livecheck_redis_url": "redis://state", **conf})
    return LiveCheck(app)


@pytest.fixture
def conflicting(monkeypatch: pytest.MonkeyPatch) -> LiveCheck:
    monkeypatch.setenv("LIVECHECK_BROKER_URL", OTHER)
    return make()


def test_worker_on_another_broker_is_refused_with_both_urls(conflicting: LiveCheck) -> None:
    lifecycle = Lifecycle(conflicting.app, [conflicting])
    conflicting.app.amqp.queues.select(["livecheck"])
    with pytest.raises(SystemExit) as caught:
        lifecycle.start(SimpleNamespace(app=conflicting.app, hostname="w@h"))
    assert str(caught.value) == (
        "LiveCheck: broker_url: tests are sent to redis://other:6379/3, but the Celery app uses redis://mine/1; unset "
        "LIVECHECK_BROKER_URL or livecheck_broker_url, or give both the same broker"
    )


def test_beat_on_another_broker_logs_it_and_keeps_running(
    conflicting: LiveCheck, caplog: pytest.LogCaptureFixture
) -> None:
    lifecycle = Lifecycle(conflicting.app, [conflicting])
    sender = SimpleNamespace(app=conflicting.app, scheduler=SimpleNamespace(schedule={}))
    lifecycle.start_beat(sender)
    assert [message for message in caplog.messages if "broker_url" in message] == [], "no cases, no entries"
    conflicting.add_case(Case, name="c")
    lifecycle.start_beat(sender)
    assert [message for message in caplog.messages if message.startswith("beat: LiveCheck: broker_url: tests are")]


def test_doctor_names_both_brokers(conflicting: LiveCheck) -> None:
    [finding] = check_app_broker(conflicting)
    assert not finding.ok
    assert (finding.subject, finding.found) == (
        "broker",
        "tests are sent to redis://other:6379/3, but the Celery app uses redis://mine/1",
    )
    assert finding.fix.startswith("unset LIVECHECK_BROKER_URL")


def test_process_that_only_sends_can_use_another_broker(conflicting: LiveCheck) -> None:
    assert conflicting.settings.broker_url == OTHER
    assert conflicting.runtime.publisher is not None


@pytest.mark.parametrize(
    ("broker", "conf"),
    [
        ("redis://mine/1", {}),
        ("redis://mine/1", {"livecheck_broker_url": "redis://:pw@MINE:6379/1"}),
        ("amqp://one//;amqp://two//", {"livecheck_broker_url": ["amqp://two//"]}),
        (None, {"broker_read_url": "redis://read/0", "broker_write_url": "redis://write/0"}),
        (None, {"livecheck_broker_url": "amqp://localhost"}),
    ],
)
def test_one_broker_is_accepted_however_it_is_written(broker: str | None, conf: dict[str, Any]) -> None:
    livecheck = make(broker, **conf)
    check_one_broker(livecheck)
    assert list(check_app_broker(livecheck)) == []


def test_app_without_a_broker_uses_that_of_celery() -> None:
    with pytest.raises(ConfigurationError, match="tests are sent to redis://state, but the Celery app uses amqp://"):
        check_one_broker(make(None))
