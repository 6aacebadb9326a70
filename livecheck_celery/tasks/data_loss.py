"""What a process does when Redis has lost everything, as one without persistence does when it restarts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livecheck_celery.delivery.shared_config import Watch
from livecheck_celery.utils.redis_urls import without_password
from livecheck_celery.utils.sanitize import get_logger

if TYPE_CHECKING:
    from livecheck_celery.livecheck import LiveCheck

logger = get_logger(__name__)


def begin_again(suite: LiveCheck, watch: Watch) -> None:
    """Make the cases known again, if this process made them known before; and say what was lost.

    Raises:
        RedisUnavailable: Redis went away again.
    """
    registered = ""
    if suite.registers:
        for case in list(suite.cases.values()):
            suite.store.registry.register(case.name, case.describe())
        suite.store.suites.expect_tests(list(suite.cases))
        registered = f"; cases registered again: {len(suite.cases)}"
    overrides = f", and so are the overrides of {', '.join(sorted(watch.overrides))}" if watch.overrides else ""
    logger.warning(
        "Redis at %s has lost its data: counters, histories, reports and open tests are gone%s%s",
        without_password(suite.settings.redis_url),
        overrides,
        registered,
    )
