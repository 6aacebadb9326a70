"""Stores for many concurrent callers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from livecheck_celery.config import Settings
from livecheck_celery.store import Store


@contextmanager
def connected_stores(settings: Settings, count: int) -> Iterator[list[Store]]:
    """Yield ``count`` stores that are already connected, so that all callers start together."""
    stores = [Store(settings) for _ in range(count)]
    with ExitStack() as closing:
        for store in stores:
            closing.callback(store.client.close)
            store.time()
        yield stores
