"""Install LiveChecks on Celery apps: tasks, lifecycle and message filter, once per app."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from celery import Celery

from livecheck_celery.tasks import handlers, lifecycle, message_filter
from livecheck_celery.tasks.beat_schedule import BeatSchedule
from livecheck_celery.tasks.protocols import Installed
from livecheck_celery.utils.celery_report import hide_settings

# By app, since the same tasks serve every LiveCheck on an app.
_installations: WeakKeyDictionary[Celery, Installation] = WeakKeyDictionary()


class Installation:
    """LiveCheck on one Celery app.

    Attributes:
        livechecks: the LiveChecks on the app, the oldest first.
        beat_schedule: their entries in the app's beat schedule.
    """

    def __init__(self, app: Celery) -> None:
        hide_settings()
        self.livechecks: list[Installed] = []
        self.beat_schedule = BeatSchedule(app)
        handlers.install(app, self.livechecks)
        lifecycle.install(app, self.livechecks)
        message_filter.install(app, self.livechecks)


def install(livecheck: Installed) -> Installation:
    """Install ``livecheck`` on its Celery app, and return the installation."""
    installation = _installations.get(livecheck.app)
    if installation is None:
        installation = _installations[livecheck.app] = Installation(livecheck.app)
    installation.livechecks.append(livecheck)
    return installation


def installed_on(app: Celery) -> list[Installed]:
    """Return the LiveChecks installed on ``app``, the oldest first."""
    installation = _installations.get(app)
    return [] if installation is None else list(installation.livechecks)
