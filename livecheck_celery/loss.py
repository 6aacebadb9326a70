"""What a process does when Redis has lost everything, as one without persistence does when it restarts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from livecheck_celery.urls import without_password
from livecheck_celery.watch import Watch

if TYPE_CHECKING:
    from livecheck_celery.livecheck import LiveCheck

logger = logging.getLogger("livecheck_celery.watch")


def begin_again(suite: LiveCheck, watch: Watch) -> None:
    """Make the cases known again, if this process made them known before; and say what was lost.

    Raises:
        RedisUnavailable: Redis went away again.
    """
    known = "the counters, histories, reports and open tests of all cases"
    if suite.registers:
        for case in list(suite.cases.values()):
            suite.store.register(case.name, case.describe())
        count = len(suite.cases)
        known = f"the counters, histories, reports and open tests of {count} cases, which are registered again"
    changed = sorted(watch.overrides)
    overrides = f"; the overrides of {', '.join(changed)}, which are to be set again" if changed else ""
    place = without_password(suite.settings.redis_url)
    logger.warning("Redis at %s has lost its data: gone are %s%s", place, known, overrides)
