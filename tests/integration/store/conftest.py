"""A store whose clock tests set."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha1

import pytest
import redis

from livecheck_celery.store import Store
from tests.helpers.execution_machine import CLOCK, with_our_clock
from tests.helpers.execution_model import MAX_OPEN, MAX_REPORTS
from tests.helpers.factories import make_settings
from tests.helpers.store_operations import SCRIPTS


@pytest.fixture
def clocked(redis_url: str, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store whose scripts read the time from a key."""
    store = Store(make_settings(redis_url, max_reports=MAX_REPORTS, max_open=MAX_OPEN))
    for script in SCRIPTS.values():
        source = with_our_clock(script.source)
        monkeypatch.setattr(script, "source", source)
        monkeypatch.setattr(script, "sha", sha1(source.encode(), usedforsecurity=False).hexdigest())
    yield store
    redis_client.delete(CLOCK)
    store.client.close()
