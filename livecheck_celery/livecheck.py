"""LiveCheck: the public facade, one for each set of cases on a Celery app."""

from __future__ import annotations

from livecheck_celery.base_livecheck import BaseLiveCheck
from livecheck_celery.cases.case import Case
from livecheck_celery.cases.signals import Signal


class LiveCheck(BaseLiveCheck):
    """Declare cases on a Celery app, and propagate tests through this process.

    Args:
        app: the host's Celery app; by default LiveCheck's own, the one of ``celery -A livecheck_celery``.
        options: settings by name, as in `Settings`; they precede the Celery configuration and the environment.

    Attributes:
        app: the Celery app.
        cases: the cases, by name.
        registers: whether this process registers the cases in Redis, as workers do.
        guard: logs failures in requests, and limits the log lines.

    Raises:
        ConfigurationError: a setting is unknown, or ``app`` is not a Celery app; for wrong values, see `settings`.
    """

    Case = Case
    Signal = Signal
