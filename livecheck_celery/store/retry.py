"""Retry of store operations while Redis is unavailable; only workers use it, so that no request waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    retry_if_not_exception_type,
    stop_after_delay,
    wait_exponential,
)

from livecheck_celery.errors import RedisRefused, RedisUnavailable, UnreadableKey
from livecheck_celery.utils.interruption import Interruption
from livecheck_celery.utils.sanitize import get_logger
from livecheck_celery.utils.throttle import Throttle

logger = get_logger(__name__)

#: Seconds after which the last attempt is made.
RETRY_FOR: Final = 60.0
#: Seconds between the first attempt and the second; doubled each time, to five seconds.
_FIRST_DELAY: Final = 0.1
#: Longest delay in seconds between two attempts that have no limit.
_LONGEST_DELAY: Final = 30.0

_if_unavailable: Final = retry_if_exception_type(RedisUnavailable)
_RETRY_LIMIT: Final = stop_after_delay(RETRY_FOR)

P = ParamSpec("P")
R = TypeVar("R")


def _attempt(state: RetryCallState) -> tuple[BaseException | None, float]:
    """Return the error of an attempt, and the delay before the next one."""
    error = state.outcome.exception() if state.outcome else None
    return error, state.next_action.sleep if state.next_action else 0.0


def _log_retry(error: BaseException | None, delay: float) -> None:
    logger.warning("store: %s; retrying in %.1f s", error, delay)


class Retry:
    """Retries of this process, which end when the process is interrupted."""

    def __init__(self, interruption: Interruption) -> None:
        self._interruption = interruption
        self._throttle = Throttle()

    def __call__(self, operation: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call ``operation(*args, **kwargs)``; retry with growing delays for a minute while Redis is unavailable.

        Raises:
            RedisUnavailable: Redis stayed unavailable, or the process is stopping and its grace period is over.
            UnreadableKey: Redis refused the call because of what a key holds.
        """
        try:  # nearly all calls need no more, and tenacity takes a fifth of their time
            return operation(*args, **kwargs)
        except UnreadableKey:
            raise
        except RedisUnavailable as exc:
            if self._interruption.is_due:
                raise
            self._log(exc, _FIRST_DELAY)
        self._interruption.sleep(_FIRST_DELAY)
        retrying = Retrying(
            retry=_if_unavailable & retry_if_not_exception_type(UnreadableKey),
            wait=wait_exponential(multiplier=2 * _FIRST_DELAY, max=5),
            stop=lambda retry_state: self._interruption.is_due or _RETRY_LIMIT(retry_state),
            sleep=self._interruption.sleep,
            before_sleep=lambda retry_state: self._log(*_attempt(retry_state)),
            reraise=True,
        )
        return retrying(operation, *args, **kwargs)

    def _log(self, error: BaseException | None, delay: float) -> None:
        """Log once a minute: in an outage, hundreds of tests retry."""
        if self._throttle("retry"):
            _log_retry(error, delay)


def retry_forever(operation: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call ``operation(*args, **kwargs)``; retry with growing delays until Redis answers, as a starting worker does.

    Raises:
        RedisRefused: Redis refused the login or a command, and will do so again.
    """
    retrying = Retrying(
        retry=_if_unavailable & retry_if_not_exception_type(RedisRefused),
        wait=wait_exponential(multiplier=1, max=_LONGEST_DELAY),
        before_sleep=lambda retry_state: _log_retry(*_attempt(retry_state)),
        reraise=True,
    )
    return retrying(operation, *args, **kwargs)
