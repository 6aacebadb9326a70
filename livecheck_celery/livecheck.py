"""LiveCheck: the public facade, one for each set of cases on a Celery app."""

from __future__ import annotations

from typing import Any

from livecheck_celery.base_livecheck import BaseLiveCheck
from livecheck_celery.cases.case import Case
from livecheck_celery.cases.signals import Signal
from livecheck_celery.models import TestReport


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

    def post_report(self, report: TestReport) -> Any:
        """Publish a report; override this to forward the reports of all cases (reference: ``LiveCheck.post_report``).

        `Case.post_report` calls it, for each report. LiveCheck has stored it before: this stores a report that was made
        by hand, unless ``send_reports`` is off. What it raises is logged.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        self._store_report(report)
