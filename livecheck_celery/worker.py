"""The Celery app of ``celery -A livecheck_celery``, with the cases that the setting ``cases`` names."""

from __future__ import annotations

from celery.loaders.default import Loader

from livecheck_celery.livecheck import LiveCheck
from livecheck_celery.tasks.lifecycle import import_cases

livecheck = LiveCheck()
app = livecheck.app

if isinstance(app.loader, Loader):
    # A bare `celery worker` is past the moment at which Celery asks what to import.
    import_cases(livecheck)
