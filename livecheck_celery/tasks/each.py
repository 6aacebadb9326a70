"""Act on each case, and each LiveCheck, by itself: what fails for one costs no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Final, TypeVar

from livecheck_celery.errors import LiveCheckError, ServerUnavailable, UnreadableKey
from livecheck_celery.utils.sanitize import get_logger
from livecheck_celery.utils.signal_handlers import reraise_from_handler
from livecheck_celery.utils.throttle import ThrottledLogger

logger = get_logger(__name__)
throttled = ThrottledLogger(logger)

T = TypeVar("T")

#: A server that fails for this many cases in a row is down for all; each attempt can take seconds.
GIVE_UP_AFTER: Final = 3
#: Threads of `each_at_once`.
_AT_ONCE: Final = 16


def each(component: str, case_names: Iterable[str], act: Callable[[str], object]) -> None:
    """Call ``act`` for each case; log what it raises, with the name of the case, and continue.

    Raises:
        ServerUnavailable: a server did not answer; raised after the other cases, or after three such errors in a row.
    """
    unavailable: ServerUnavailable | None = None
    in_a_row = 0
    for name in case_names:
        try:
            act(name)
            in_a_row = 0
        except LiveCheckError as exc:
            throttled.error("%s: case %s: %s", component, name, exc, key=f"{component} {type(exc).__name__}")
            if isinstance(exc, ServerUnavailable) and not isinstance(exc, UnreadableKey):
                unavailable, in_a_row = exc, in_a_row + 1
        except Exception as exc:  # noqa: BLE001 - a hook of the case raised
            reraise_from_handler(exc)
            throttled.exception("%s: case %s: failed; continuing with the others", component, name)
        if in_a_row == GIVE_UP_AFTER:
            break
    if unavailable is not None:
        raise unavailable


def each_at_once(component: str, case_names: Iterable[str], act: Callable[[str], object]) -> None:
    """Call ``act`` for each case as `each` does, several at a time: a hook of one that takes long delays no other.

    Raises:
        ServerUnavailable: a server did not answer; raised after the other cases, or after three such errors.
    """
    names = list(case_names)
    unavailable: list[ServerUnavailable] = []

    def attempt(name: str) -> None:
        if len(unavailable) < GIVE_UP_AFTER:
            try:
                each(component, [name], act)
            except ServerUnavailable as exc:
                unavailable.append(exc)

    with ThreadPoolExecutor(min(_AT_ONCE, max(1, len(names))), "livecheck-each") as pool:
        for future in [pool.submit(copy_context().run, attempt, name) for name in names]:
            future.result()
    if unavailable:
        raise unavailable[0]


def all_of(livechecks: Iterable[T], act: Callable[[T], object]) -> None:
    """Call ``act`` for each LiveCheck, also after one raised; then raise the first exception, and log the others."""
    first: Exception | None = None
    for livecheck in livechecks:
        try:
            act(livecheck)
        except Exception as exc:
            reraise_from_handler(exc)
            if first is None:
                first = exc
            else:
                logger.exception("tasks: another LiveCheck of this app failed, too")
    if first is not None:
        raise first
