"""Celery integration for services without cases, whose tasks carry tests and send automatic signals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from celery import Celery

from livecheck_celery.base_livecheck import BaseLiveCheck, livechecks_of
from livecheck_celery.cases.base_case import BaseCase
from livecheck_celery.config import Settings
from livecheck_celery.livecheck import LiveCheck


class Service(LiveCheck):
    """A LiveCheck without cases, which adds nothing to the beat schedule of the service."""

    def add_beat_entries(self, cases: Iterable[BaseCase], settings: Settings) -> None:
        """Add the beat entries of ``cases``; without any case, add none."""
        if self.cases:
            super().add_beat_entries(cases, settings)


def install(app: Celery, **settings: Any) -> BaseLiveCheck:
    """Make the tasks of ``app`` carry tests, and send the automatic signals whose source they are.

    Idempotent: further calls return the LiveCheck of the first one.

    Args:
        app: the service's Celery app; its broker can differ from LiveCheck's.
        settings: as for `LiveCheck`; ``redis_url`` is required unless LiveCheck's state is in the broker of ``app``.

    Returns:
        The LiveCheck of ``app``, for `LiveCheck.wsgi`, `asgi`, `init_flask`, `instrument` and so on.

    Raises:
        ConfigurationError: a setting is unknown.
    """
    existing = livechecks_of(app)
    return existing[0] if existing else Service(app, **settings)
