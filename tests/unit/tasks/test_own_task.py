"""LiveCheck's own tasks on an app whose settings restrict all tasks."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery, Task
from celery.concurrency.base import BasePool
from celery.concurrency.thread import TaskPool as ThreadPool
from celery.signals import before_task_publish
from kombu import Queue

from livecheck_celery import LiveCheck
from livecheck_celery.tasks.beat_schedule import FAKE_REQUEST, HEARTBEAT, RECOVER, STALLED
from livecheck_celery.tasks.own_task import OwnRequest

OWN = ["livecheck.execute", FAKE_REQUEST, STALLED, RECOVER, HEARTBEAT]


class HostTask(Task):
    """A base class that refuses everything."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise ZeroDivisionError

    def apply_async(self, *args: Any, **kwargs: Any) -> Any:
        raise ZeroDivisionError


class AnnotateAll:
    """An annotation that is an object, not a dict."""

    def annotate(self, _: Any) -> dict[str, Any]:
        return {"rate_limit": "1/h", "time_limit": 1}

    annotate_any = annotate


@pytest.fixture
def app() -> Celery:
    app = Celery("strict", broker="memory://", set_as_current=False, task_cls=HostTask)
    app.conf.update(
        task_create_missing_queues=False,
        task_queues=[Queue("shop")],
        task_default_queue="shop",
        task_routes={"*": {"queue": "shop", "priority": 9}},
        task_serializer="pickle",
        task_annotations=[
            {
                "*": {"rate_limit": "1/m", "serializer": "pickle", "time_limit": 1},
                "livecheck.execute": {"rate_limit": "100/s", "@run": None},
            },
            AnnotateAll(),
        ],
        task_time_limit=1,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
    )
    LiveCheck(app, redis_url="redis://fake:6379/0")
    return app


@pytest.mark.parametrize("name", OWN)
def test_settings_of_all_tasks_do_not_change_livechecks_tasks(app: Celery, name: str) -> None:
    task = app.tasks[name]
    assert (task.serializer, task.acks_late, task.reject_on_worker_lost) == ("json", False, False)
    assert task.time_limit == task.soft_time_limit > 3 * 3600
    assert not isinstance(task, HostTask)
    assert task.rate_limit == ("100/s" if name == "livecheck.execute" else "0"), "an annotation of its own name applies"


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("options", [{}, {"serializer": "pickle"}, {"queue": Queue("livecheck")}], ids=str)
def test_message_is_json_and_goes_to_its_queue_whatever_the_routes(
    app: Celery, name: str, options: dict[str, Any]
) -> None:
    published: list[dict[str, Any]] = []

    def note(routing_key: str, exchange: str, properties: dict[str, Any], **_: Any) -> None:
        published.append({"to": (exchange, routing_key), "priority": properties.get("priority")})

    before_task_publish.connect(note, sender=name)
    result = app.signature(name, options={"queue": "livecheck", **options}).apply_async()
    assert result.id
    assert published == [{"to": ("", "livecheck"), "priority": None}]
    with app.connection_for_read() as connection:
        message = connection.default_channel.basic_get("livecheck", no_ack=True)
        assert message.content_type == "application/json"
        connection.default_channel.queue_purge("livecheck")


def test_queue_that_the_host_declares_is_used_as_declared() -> None:
    app = Celery("strict", broker="memory://", set_as_current=False)
    app.conf.task_queues = [Queue("livecheck", max_priority=5)]
    app.conf.task_default_queue = "livecheck"  # older versions of Celery add the default queue
    livecheck = LiveCheck(app, redis_url="redis://fake:6379/0")
    declared: list[Any] = []

    def note(declare: Any, **_: Any) -> None:
        declared.append(declare)

    before_task_publish.connect(note)
    app.signature("livecheck.execute", options={"queue": livecheck.settings.queue}).apply_async()
    assert declared == [[app.conf.task_queues[0]]]
    assert list(app.amqp.queues.consume_from) == ["livecheck"]


def test_declaring_queues_does_not_make_ordinary_workers_consume_them(app: Celery) -> None:
    app.signature("livecheck.execute", options={"queue": "livecheck"}).apply_async()
    assert list(app.amqp.queues.consume_from) == ["shop"]


class Pool(BasePool):
    """A pool that has the method in its instance, as that of processes."""

    def __init__(self) -> None:
        self.terminate_job: Any = lambda *_: None


@pytest.mark.parametrize(("pool", "is_taken"), [(Pool(), True), (ThreadPool(2), False)], ids=["processes", "threads"])
def test_test_is_taken_over_only_if_the_pool_can_terminate_it(
    app: Celery, monkeypatch: pytest.MonkeyPatch, pool: Any, is_taken: bool
) -> None:
    task, taken = app.tasks["livecheck.execute"], list[Any]()
    monkeypatch.setattr(type(task), "before_terminate", staticmethod(taken.append))
    request = OwnRequest.__new__(OwnRequest)
    request._task = task
    request._terminate_on_ack = None
    request.terminate(pool)
    assert taken == ([request] if is_taken else [])


def test_time_limit_by_name_needs_no_soft_limit() -> None:
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.task_annotations = {"livecheck.execute": {"time_limit": 60}}
    LiveCheck(app, redis_url="redis://fake:6379/0")
    assert app.signature("livecheck.execute", options={"queue": "limited"}).apply_async().id
    assert app.tasks["livecheck.execute"].soft_time_limit == 60
