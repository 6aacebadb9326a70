"""Fixtures of the tests of delivery."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery

from livecheck_celery.integrations.celery import install


@pytest.fixture
def orders(redis_url: str) -> Iterator[Celery]:
    """The Celery app of another service, whose tasks run in the calling thread."""
    app = Celery("orders", broker=redis_url, set_as_current=False)
    app.conf.task_always_eager = True
    livecheck = install(app)
    yield app
    livecheck.close()
