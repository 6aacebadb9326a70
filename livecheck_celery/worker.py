"""The Celery app of ``celery -A livecheck_celery``, with the cases of the modules in the setting ``cases``."""

from __future__ import annotations

from celery.loaders.default import Loader

from livecheck_celery.livecheck import LiveCheck
from livecheck_celery.tasks.lifecycle import import_cases

livecheck = LiveCheck()
app = livecheck.app

if isinstance(app.loader, Loader):
    # A bare `celery worker` imports this module after Celery's signal `import_modules`.
    import_cases(livecheck)
