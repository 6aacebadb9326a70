"""LiveCheck's own Celery app."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from celery import Celery

from livecheck_celery import default_app


@pytest.mark.parametrize("setting", ["task_default_queue_type", "task_create_missing_queue_type"])
@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_queues_have_the_type_set_for_celery(setting: str, queue_type: str) -> None:
    app = Celery("own", broker="amqp://nowhere", set_as_current=False)
    app.conf[setting] = queue_type
    app.conf.livecheck_redis_url = "redis://fake:6379/0"
    queues = default_app._defaults(app)["task_queues"]
    assert [queue.name for queue in queues] == ["livecheck", "livecheck.schedule"]
    expected = {"x-queue-type": "quorum"} if queue_type == "quorum" else None
    assert [queue.queue_arguments for queue in queues] == [expected] * 2


def test_default_app_is_created_once(tmp_path: Path) -> None:
    code = (
        "import sys, threading\n"
        "sys.setswitchinterval(1e-6)\n"
        "from livecheck_celery.default_app import default_app\n"
        "barrier, apps = threading.Barrier(20), []\n"
        "def ask(): barrier.wait(); apps.append(default_app())\n"
        "threads = [threading.Thread(target=ask) for _ in range(20)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
        "print(len(apps), len({id(app) for app in apps}))\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["20", "1"]
