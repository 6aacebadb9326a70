"""Declarations of LiveCheck's own queues on a host's Celery app."""

from __future__ import annotations

from typing import Any

from celery import Celery

from livecheck_celery.utils.compat import add_queue


def own_queue(app: Celery, name: str) -> Any:
    """Return the declaration of LiveCheck's queue ``name``: that of the host, if there is one.

    Adds the queue to the queues of ``app`` also with ``task_create_missing_queues = False``, which is about the host's
    own names. Workers consume it only if they are told to with ``-Q``.
    """
    queues: Any = app.amqp.queues
    return queues[name] if name in queues else add_queue(queues, queues.new_missing(name))
