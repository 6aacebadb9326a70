"""Values in Redis that LiveCheck did not write: each is skipped by itself, logged and counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pydantic_core import from_json

from livecheck_celery.utils.sanitize import get_logger, sanitize
from livecheck_celery.utils.throttle import ThrottledLogger

throttled = ThrottledLogger(get_logger(__name__))

#: Reason under which they are counted.
UNREADABLE: Final = "unreadable values"
#: Places that are remembered, and characters of each: the names of fields come from Redis.
_MAX_PLACES: Final = 100
_MAX_PLACE: Final = 300


class Unreadable:
    """The unreadable values that this process has found.

    Args:
        count: called with `UNREADABLE` for each value that is skipped.

    Attributes:
        places: where they are, such as ``p:{cases}:shared, field override:active:shop.test_order``; the first hundred.
    """

    def __init__(self, count: Callable[[str], object] | None = None) -> None:
        self.places: dict[str, str] = {}
        self._count = count

    def skip(self, key: str, problem: object, *, field: str = "") -> None:
        """Note that the value of ``key``, or of one of its fields, is skipped because of ``problem``."""
        place = sanitize(f"{key}, field {field}" if field else key)[:_MAX_PLACE]
        if len(self.places) < _MAX_PLACES:
            self.places[place] = sanitize(str(problem))[:_MAX_PLACE]
        throttled.warning("store: skipped Redis key %s, which LiveCheck did not write: %s", place, problem)
        if self._count is not None:
            self._count(UNREADABLE)


def parse(text: object) -> Any:
    """Parse JSON without NaN and infinities.

    Raises:
        ValueError: ``text`` is not JSON, or is nested too deeply.
    """
    if not isinstance(text, str):
        raise ValueError("not text")  # noqa: TRY004 - one error for all that is no JSON
    try:
        return from_json(text, allow_inf_nan=False)
    except TypeError:  # half of a surrogate pair
        raise ValueError("not UTF-8") from None
