"""A consumer without an event loop, as on gevent, notices soon that it must stop."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery import bootsteps
from celery.exceptions import WorkerShutdown
from celery.worker import state
from celery.worker.loops import synloop

from livecheck_celery.tasks.short_reads import READ_FOR, shorten_reads


def connect(read: Any) -> Any:
    """A connection to a broker whose reads are ``read``, as made by a consumer."""
    consumer: Any = SimpleNamespace(ensure_connected=lambda connection: connection)
    shorten_reads(consumer)
    return consumer.ensure_connected(SimpleNamespace(drain_events=read))


def test_celery_reads_shortly_after_it_was_told_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[float] = []

    def read(timeout: float) -> None:
        reads.append(timeout)
        monkeypatch.setattr(state, "should_stop", 0)
        raise TimeoutError

    nothing = lambda *_: None  # noqa: E731
    connection = connect(read)
    consumer = SimpleNamespace(
        create_task_handler=nothing, perform_pending_operations=nothing, on_ready=nothing, pool=None,
        connection=connection, timer_entries_registered=(),
    )  # fmt: skip
    with pytest.raises(WorkerShutdown):
        synloop(
            consumer,
            connection,
            SimpleNamespace(consume=nothing),
            SimpleNamespace(state=bootsteps.RUN),
            None,
            SimpleNamespace(prev=1, value=1),
            None,
            None,
        )
    # The one in which it was told to stop and, in newer versions of Celery, one more.
    assert reads in ([READ_FOR], [READ_FOR, READ_FOR])


def test_shorter_reads_are_left_alone() -> None:
    reads: list[dict[str, Any]] = []
    connection = connect(lambda **options: reads.append(options))
    connection.drain_events(timeout=0.1)
    connection.drain_events(timeout=0)
    connection.drain_events()
    assert reads == [{"timeout": 0.1}, {"timeout": 0}, {"timeout": None}]
