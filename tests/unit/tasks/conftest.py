"""A LiveCheck whose state is on the fake server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery

from livecheck_celery import LiveCheck
from livecheck_celery.store import Store


@pytest.fixture
def livecheck(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveCheck]:
    """A LiveCheck on an app whose broker refuses connections."""
    monkeypatch.setattr(store, "check", lambda: None)  # the fake server has no INFO
    app = Celery("shop", broker="redis://127.0.0.1:1/0", set_as_current=False)
    livecheck = LiveCheck(app, redis_url="redis://:hunter2@127.0.0.1:1/0")
    livecheck.runtime.store = livecheck.runtime.request_store = store
    yield livecheck
    livecheck.close()
