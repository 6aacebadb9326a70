"""The app of a host that restricts its tasks in every way that Celery offers."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, Task
from kombu import Exchange, Queue

from livecheck_celery import Case, LiveCheck, Signal

URL = os.environ["SHOP_URL"]


class HostTask(Task):
    """The base class of the host's tasks, which take only arguments by name."""

    def __call__(self, **kwargs: Any) -> Any:
        return super().__call__(**kwargs)

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        if args:
            raise ValueError("arguments by name, please")
        return super().apply_async((), kwargs, **options)


app = Celery("strict", broker=os.environ.get("BROKER_URL", URL), backend=URL, set_as_current=False, task_cls=HostTask)
feed = Exchange("feed", type="topic")
app.conf.update(
    task_create_missing_queues=False,
    task_queues=[Queue("shop"), Queue("feed", feed, routing_key="feed.#")],
    task_default_queue="shop",
    task_default_exchange="shop",
    task_default_exchange_type="topic",
    task_routes={"*": {"queue": "feed", "routing_key": "feed.tasks"}},
    task_serializer="pickle",
    accept_content=["pickle"],
    result_serializer="pickle",
    result_accept_content=["pickle"],
    task_annotations={"*": {"rate_limit": "1/m", "max_retries": 0, "serializer": "pickle"}},
    task_default_rate_limit="1/m",
    task_time_limit=1,
    task_soft_time_limit=1,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    task_track_started=True,
    task_send_sent_event=True,
    worker_max_tasks_per_child=1,
    worker_enable_remote_control=False,
    timezone="Asia/Tokyo",
    enable_utc=False,
)
if directory := os.environ.get("SIGNED_MESSAGES"):  # the directory of a key and a certificate
    app.conf.update(task_annotations=None, task_serializer="auth", accept_content=["auth"], result_serializer="auth")
    app.conf.update(result_accept_content=["auth"], event_serializer="auth")
    app.setup_security(
        key=f"{directory}/key.pem", cert=f"{directory}/cert.pem", store=f"{directory}/cert*.pem", key_password=None
    )
livecheck = LiveCheck(app, recover_within=3.0)


@livecheck.case()
class test_waiting(Case):
    """Waits for the signal "go"."""

    go: Signal[str]

    def run(self, name: str = "x") -> None:
        assert self.go.wait(timeout=30.0) == "go"


@livecheck.case()
class test_plain(Case):
    """Passes."""

    def run(self, *args: Any) -> None:
        pass


@livecheck.case(frequency=1.0)
class test_faked(Case):
    """Is triggered by fake requests only."""

    def run(self) -> None:
        assert self.current_test.synthetic

    def make_fake_request(self) -> None:
        test_plain.trigger.si().delay()
        with self.maybe_trigger():
            pass


@app.task(name="strict.number")
def number(*, order_id: str = "") -> str:
    """Do nothing."""
    return order_id


if __name__ == "__main__":  # the process of a service, which triggers tests in every way
    test_waiting.trigger("called")
    result = test_plain.trigger.delay("delayed")
    test_plain.trigger.s("signature").delay()
    test_plain.trigger.si("immutable").apply_async(link=test_plain.trigger.si("linked"))
    (number.si(order_id="x") | test_plain.trigger.si("chained")).apply_async()
    assert result.get(timeout=20) == "PASS"
    livecheck.close()
