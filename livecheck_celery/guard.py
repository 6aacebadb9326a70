"""The guard: a failure of LiveCheck in a user's request is a log line, never an error of the request.

Every part of LiveCheck that a request runs is in a guard: triggers and signals, middleware, clients, and the receivers
of Celery's and Django's signals. The application's own code is never in one, so its errors propagate unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import TracebackType
from typing import Any, Final, ParamSpec, TypeVar, cast

from livecheck_celery.errors import ConfigurationError, LiveCheckError
from livecheck_celery.utils.sanitize import get_logger
from livecheck_celery.utils.signal_handlers import errors_ignored, reraise_from_handler
from livecheck_celery.utils.throttle import Throttle

logger = get_logger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


class Guard:
    """Log failures, one line a minute for each kind and each wrong setting, and continue.

    Catches errors only: KeyboardInterrupt, SystemExit, GeneratorExit and cancellations propagate, and so does what a
    signal handler raises, such as Celery's SoftTimeLimitExceeded.

    Attributes:
        throttle: limits the log lines.
    """

    def __init__(self) -> None:
        self.throttle = Throttle()

    def __call__(self, kind: str, line: str, *args: object) -> Guarded:
        """Return a context manager that logs ``line % args`` if its block fails, and suppresses the error."""
        return Guarded(self, kind, line, args)

    def failed(self, error: Exception, kind: str, line: str, *args: object) -> None:
        """Log ``line % args`` and ``error``, with its traceback unless it is one of LiveCheck's, which say it all.

        A wrong setting fails every part of a request; it is logged once, by the first of them.

        Raises:
            Exception: a signal handler raised ``error``.
        """
        reraise_from_handler(error)
        with errors_ignored():  # a handler or filter of the application's logging
            if self.throttle(str(error) if isinstance(error, ConfigurationError) else kind):
                if isinstance(error, LiveCheckError):
                    logger.error(f"{line}: %s", *args, error)  # noqa: G004 - line is a constant
                else:
                    logger.error(line, *args, exc_info=error)


class Guarded:
    """A block in a guard."""

    __slots__ = ("_args", "_guard", "_kind", "_line")

    def __init__(self, guard: Guard, kind: str, line: str, args: tuple[object, ...]) -> None:
        self._guard = guard
        self._kind = kind
        self._line = line
        self._args = args

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self._guard.failed(error, self._kind, self._line, *self._args)
        return True


#: The guard of everything that belongs to no single `LiveCheck`.
GUARD: Final = Guard()


def guarded(line: str, otherwise: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function of LiveCheck's to log ``line`` and return ``otherwise`` if it fails."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except Exception as exc:  # noqa: BLE001 - logged by the guard
                GUARD.failed(exc, line, line)
                return cast("R", otherwise)

        return call

    return decorate
