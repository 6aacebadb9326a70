"""A Celery app without LiveCheck, whose task does nothing: the peer of a worker that executes tests."""

from __future__ import annotations

import os

from celery import Celery

app = Celery("bare", broker=os.environ["BENCH_REDIS"])
app.conf.task_default_queue = "bare"
app.conf.task_ignore_result = True
app.conf.broker_connection_retry_on_startup = True


@app.task(name="noop")
def noop() -> None:
    """Do nothing."""
