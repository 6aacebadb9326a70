"""A LiveCheck in which ``doctor`` finds no problem."""

from __future__ import annotations

import pytest
import redis

from livecheck_celery import LiveCheck
from livecheck_celery.cli.doctor import workers
from tests.helpers.doctor import QUEUES, worker


@pytest.fixture
def livecheck(livecheck: LiveCheck, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> LiveCheck:
    """The instance that ``-A shop_app`` selects, without any problem."""
    monkeypatch.delenv("PYTHONOPTIMIZE", raising=False)
    monkeypatch.setattr(redis_client, "info", lambda _: {"redis_version": "7.4.1"})
    monkeypatch.setattr(workers, "query_workers", lambda _: [worker(*QUEUES)])
    return livecheck
