"""The queues of the package's own app."""

from __future__ import annotations

import pytest
from celery import Celery

from livecheck_celery import default_app


@pytest.mark.parametrize("setting", ["task_default_queue_type", "task_create_missing_queue_type"])
@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_the_queues_are_of_the_type_that_celery_is_told(setting: str, queue_type: str) -> None:
    app = Celery("own", broker="amqp://nowhere", set_as_current=False)
    app.conf[setting] = queue_type
    app.conf.livecheck_redis_url = "redis://fake:6379/0"
    queues = default_app._defaults(app)["task_queues"]
    assert [queue.name for queue in queues] == ["livecheck", "livecheck.schedule"]
    expected = {"x-queue-type": "quorum"} if queue_type == "quorum" else None
    assert [queue.queue_arguments for queue in queues] == [expected] * 2
