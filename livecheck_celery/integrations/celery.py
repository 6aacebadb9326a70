"""For a service that has no cases: its Celery app carries the tests of others, and tells what its tasks came to."""

from __future__ import annotations

from typing import Any

from celery import Celery

from livecheck_celery.livecheck import LiveCheck, livechecks_of


class Service(LiveCheck):
    """A LiveCheck without cases, so that there is nothing for the service's beat to do."""

    def schedule_all(self, **_: Any) -> None:
        """Put the entries of cases into the schedule of beat, if it should have some after all."""
        if self.cases:
            super().schedule_all()


def install(app: Celery, **settings: Any) -> LiveCheck:
    """Have the tasks of ``app`` carry tests, and send the signals that are declared as resolved by them.

    Calling it again gives what the first call gave.

    Args:
        app: the service's Celery app. Its broker may be another than LiveCheck's.
        settings: of the LiveCheck this makes, as for `LiveCheck`; at least ``redis_url``, where the state is another
            Redis than the app's broker.

    Returns:
        A LiveCheck, for what else there is to do here: ``wsgi``, ``asgi``, ``init_flask``, ``instrument`` …

    Raises:
        ConfigurationError: a setting is unknown.
    """
    existing = livechecks_of(app)
    return existing[0] if existing else Service(app, **settings)
