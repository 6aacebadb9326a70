"""Headers that carry tests, and the mark of a fake request, to another process: build and parse them.

Celery messages carry them unsigned, because anybody who can write to the broker can run any task. HTTP is a trust
boundary: HTTP headers are accepted only with a signature made with the shared secret key; see `signatures`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote

from pydantic import TypeAdapter

from livecheck_celery.blocks import Mark
from livecheck_celery.context import current_tests, mark_in_force
from livecheck_celery.models import (
    HEADER_EXPIRES,
    HEADER_ID,
    HEADER_LAYOUT,
    HEADER_NAME,
    HEADER_NONCE,
    HEADER_OLD_SYNTHETIC,
    HEADER_OUTER,
    HEADER_SYNTHETIC,
    HEADER_TIMESTAMP,
    TestExecution,
)
from livecheck_celery.propagation import outer_tests
from livecheck_celery.utils import clock
from livecheck_celery.utils.sanitize import encodable

#: Every header of the innermost test and of the mark.
HEADERS: Final = (HEADER_ID, HEADER_NAME, HEADER_TIMESTAMP, HEADER_EXPIRES, HEADER_NONCE, HEADER_SYNTHETIC)
#: Every header of a Celery message.
DATA_HEADERS: Final = (*HEADERS, HEADER_OLD_SYNTHETIC, HEADER_LAYOUT, HEADER_OUTER)

#: Maximum characters in one header; LiveCheck's own headers are never longer.
MAX_HEADER: Final = 4096

#: How far the clock of the sender can be ahead of this process's.
_SKEW: Final = timedelta(minutes=5)
_MARK: Final = TypeAdapter(Mark)
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Carried(NamedTuple):
    """The LiveCheck context that crosses a hop.

    Attributes:
        tests: the tests that the work is part of, the innermost first.
        mark: of the fake request that the work is part of.
    """

    tests: tuple[TestExecution, ...]
    mark: Mark | None

    @property
    def test(self) -> TestExecution | None:
        """The innermost test."""
        return self.tests[0] if self.tests else None


NOTHING: Final = Carried((), None)


def outgoing() -> dict[str, str]:
    """Build the unsigned headers of the current tests or of the mark of a fake request; empty outside of both."""
    # Not a test with a lone surrogate in its id: Redis cannot store such a test either.
    sendable = [(test, headers) for test in current_tests() if (headers := _headers_of(test))]
    headers = sendable[0][1] if sendable else {}
    if len(sendable) > 1 and (outer := outer_tests.pack([test for test, _ in sendable[1:]])):
        headers[HEADER_OUTER] = outer
    if mark := mark_in_force():
        headers[HEADER_SYNTHETIC] = _header_of(mark)
    return headers


def parse(headers: Mapping[str, Any]) -> Carried:
    """Parse ``headers``, spelled as LiveCheck does; return `NOTHING` if they carry neither a test nor a mark.

    A test that is malformed or expired is left out. A mark never is, and has no expiry here, so that neither a backlog
    in a queue nor a newer version of LiveCheck turns fake requests into real ones.
    """
    mark = _mark_of(headers[HEADER_SYNTHETIC] if HEADER_SYNTHETIC in headers else _mark_of_earlier_version(headers))
    innermost = TestExecution.from_headers(headers, mark) if HEADER_ID in headers else None
    tests = [] if innermost is None else [innermost]
    if tests and HEADER_OUTER in headers:
        tests += outer_tests.unpack(headers[HEADER_OUTER], mark)
    live = [test for test in tests if not test.is_expired]
    return Carried(tuple(live), mark) if live or mark else NOTHING


def is_from_the_future(carried: Carried) -> bool:
    """Return whether something in ``carried`` began later than the difference of two clocks allows."""
    latest = clock.now() + _SKEW
    begins = [test.timestamp for test in carried.tests]
    return any(begin > latest for begin in (begins if carried.mark is None else [*begins, carried.mark.since]))


def limit(carried: Carried, max_age: float) -> Carried:
    """Return ``carried`` without what began over ``max_age`` seconds ago; the rest expires at that age."""
    age = timedelta(seconds=max_age)
    mark = carried.mark
    if mark is not None:
        mark = replace(mark, expires=min(mark.expires, mark.since + age))
        mark = None if mark.is_expired else mark
    tests = (replace(test, mark=mark, expires=min(test.expires, test.timestamp + age)) for test in carried.tests)
    live = tuple(test for test in tests if not test.is_expired)
    return Carried(live, mark) if live or mark else NOTHING


def _header_of(mark: Mark) -> str:
    return ";".join((mark.since.isoformat(), mark.expires.isoformat(), quote(encodable(mark.case_name))))


def _mark_of(header: object) -> Mark | None:
    """Return the mark in ``header``; one that cannot be read is expired, which only HTTP looks at."""
    if header is None:
        return None
    try:
        since, expires, name = str(header).split(";")
        return _MARK.validate_python({"case_name": unquote(name), "since": since, "expires": expires})
    except ValueError:
        return Mark("", _LONG_AGO, _LONG_AGO)


def mark_for_earlier_versions(mark: Mark) -> dict[str, str]:
    """Return the headers of a Celery message in which an earlier version, which runs beside this one, reads a mark."""
    return {
        HEADER_OLD_SYNTHETIC: "1",
        HEADER_NAME: quote(encodable(mark.case_name)),
        HEADER_EXPIRES: mark.expires.isoformat(),
    }


def _mark_of_earlier_version(headers: Mapping[str, Any]) -> str | None:
    """Return the mark of a message of an earlier version, in the form of this one; None if it has none."""
    if headers.get(HEADER_OLD_SYNTHETIC) != "1":
        return None
    return ";".join(str(headers.get(name, "")) for name in (HEADER_TIMESTAMP, HEADER_EXPIRES, HEADER_NAME))


def _headers_of(test: TestExecution) -> dict[str, str]:
    try:
        return test.as_headers()
    except UnicodeEncodeError:
        return {}
