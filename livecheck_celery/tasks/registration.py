"""Registration of cases in Redis, repeated after Redis has lost its data."""

from __future__ import annotations

from livecheck_celery.cases.base_case import BaseCase
from livecheck_celery.delivery.shared_config import SharedConfig
from livecheck_celery.errors import UnreadableKey
from livecheck_celery.store import Store
from livecheck_celery.store.retry import retry_forever
from livecheck_celery.tasks.protocols import Installed, stall_limits
from livecheck_celery.utils.sanitize import get_logger
from livecheck_celery.utils.secrets import printed_url
from livecheck_celery.utils.throttle import ThrottledLogger

logger = get_logger(__name__)
throttled = ThrottledLogger(logger)


def register_cases(livecheck: Installed) -> None:
    """Store the settings of all cases, and expect their tests from now on; wait while Redis is unavailable.

    Raises:
        RedisRefused: Redis refused the login or a command.
        RedisTooOld: Redis is older than 6.2.
        InvalidPayload: the settings of a case are not JSON.
    """
    store = livecheck.runtime.store
    retry_forever(store.check)
    for case in livecheck.cases.values():
        retry_forever(_register, store, case)
    retry_forever(store.suites.expect_tests, stall_limits(livecheck))
    livecheck.registers = True


def restore_after_data_loss(livecheck: Installed, shared_config: SharedConfig) -> None:
    """Register the cases again, if this process registered them before, and log what was lost.

    Raises:
        RedisUnavailable: Redis did not answer.
    """
    for each in livecheck.runtime.stores:
        each.executions.open_cases.note_again()
    registered = ""
    if livecheck.registers:
        store, cases = livecheck.runtime.store, dict(livecheck.cases)
        for case in cases.values():
            _register(store, case)
        store.suites.expect_tests(stall_limits(livecheck))
        registered = f"; cases registered again: {len(cases)}"
    lost = f", overrides of {', '.join(sorted(shared_config.overrides))}" if shared_config.overrides else ""
    logger.warning(
        "registration: Redis at %s has lost its data: counters, histories, reports, open tests%s%s",
        printed_url(livecheck.settings.redis_url),
        lost,
        registered,
    )


def _register(store: Store, case: BaseCase) -> None:
    try:
        store.registry.register(case.name, case.describe())
    except UnreadableKey as exc:  # its tests run all the same
        throttled.error("registration: case %s: not registered: %s", case.name, exc)
