"""Headers that carry a test to another process: build, parse, sign and verify them.

Celery messages carry them unsigned, because anybody who can write to the broker can run any task. HTTP is a trust
boundary: HTTP headers are accepted only with a signature made with the shared secret key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypeGuard
from urllib.parse import quote, unquote

from itsdangerous import Signer

from livecheck_celery.blocks import MARK_LIFETIME
from livecheck_celery.context import current_tests, synthetic_case
from livecheck_celery.models import (
    HEADER_EXPIRES,
    HEADER_ID,
    HEADER_LAYOUT,
    HEADER_NAME,
    HEADER_OUTER,
    HEADER_SIGNATURE,
    HEADER_SYNTHETIC,
    HEADER_TIMESTAMP,
    TestExecution,
)
from livecheck_celery.propagation import outer_tests
from livecheck_celery.utils import clock

#: Every header of the innermost test, in the order in which the signature covers them.
HEADERS: Final = (HEADER_ID, HEADER_NAME, HEADER_TIMESTAMP, HEADER_EXPIRES, HEADER_SYNTHETIC)
#: What the signature covers; the layout only if it is not 1.
_SIGNED: Final = (*HEADERS, HEADER_LAYOUT)
#: Every header with data. The signature of the outer tests is in their value, so that receivers can ignore them.
DATA_HEADERS: Final = (*_SIGNED, HEADER_OUTER)

#: Maximum characters in one header; LiveCheck's own headers are never longer.
MAX_HEADER: Final = 4096

#: Validity of the mark of a fake request, which limits the replay of a captured mark.
_MARK_LIFETIME: Final = timedelta(seconds=MARK_LIFETIME)

_SALT: Final = "livecheck-celery.headers"


class Carried(NamedTuple):
    """The LiveCheck context that crosses a hop.

    Attributes:
        tests: the tests that the work is part of, the innermost first.
        synthetic_case: without a test, name of the case whose fake request the work is part of.
    """

    tests: tuple[TestExecution, ...]
    synthetic_case: str | None

    @property
    def test(self) -> TestExecution | None:
        """The innermost test."""
        return self.tests[0] if self.tests else None


NOTHING: Final = Carried((), None)


def outgoing() -> dict[str, str]:
    """Build the unsigned headers of the current tests or of the mark of a fake request; empty outside of both."""
    # Not a test with a lone surrogate in its id: Redis cannot store such a test either.
    sendable = [(test, headers) for test in current_tests() if (headers := _headers_of(test))]
    if sendable:
        outer = outer_tests.pack([test for test, _ in sendable[1:]])
        return {**sendable[0][1], HEADER_OUTER: outer} if outer else sendable[0][1]
    if case_name := synthetic_case():
        expires = clock.now() + _MARK_LIFETIME
        return {HEADER_NAME: quote(case_name), HEADER_EXPIRES: expires.isoformat(), HEADER_SYNTHETIC: "1"}
    return {}


def parse(headers: Mapping[str, Any]) -> Carried:
    """Parse ``headers``, spelled as LiveCheck does; return `NOTHING` if they are absent, malformed or expired."""
    if HEADER_ID in headers:
        innermost = TestExecution.from_headers(headers)
        if innermost is None:
            return NOTHING
        tests = (innermost, *outer_tests.unpack(headers.get(HEADER_OUTER)))
        return Carried(tuple(test for test in tests if not test.is_expired), None)
    name = headers.get(HEADER_NAME)
    if headers.get(HEADER_SYNTHETIC) == "1" and isinstance(name, str) and name and _is_unexpired(headers):
        return Carried((), unquote(name))
    return NOTHING


def _is_unexpired(headers: Mapping[str, Any]) -> bool:
    try:
        return datetime.fromisoformat(headers[HEADER_EXPIRES]) > clock.now()
    except (KeyError, TypeError, ValueError):
        return False


def sign(headers: Mapping[str, str], keys: tuple[str, ...]) -> dict[str, str]:
    """Return ``headers`` with a signature made with the first of ``keys``."""
    signer = _signer(keys)
    signature = signer.get_signature(_signed_text(headers)).decode()
    signed = {**headers, HEADER_SIGNATURE: signature}
    if HEADER_OUTER in headers:
        signed[HEADER_OUTER] += "." + signer.get_signature(_outer_text(headers[HEADER_OUTER], signature)).decode()
    return signed


def verify(headers: Mapping[str, Any], keys: tuple[str, ...]) -> Mapping[str, str] | None:
    """Return the LiveCheck headers in ``headers``, without others, if one of ``keys`` signed them; else None.

    The outer tests are left out if they are not signed together with the innermost one.
    """
    if not keys:
        return None
    signature = headers.get(HEADER_SIGNATURE, "")
    carried = {name: headers[name] for name in _SIGNED if name in headers}
    if not carried or not all(_is_plausible(value) for value in (signature, *carried.values())):
        return None
    signer = _signer(keys)
    if not signer.verify_signature(_signed_text(carried), signature):
        return None
    outer = headers.get(HEADER_OUTER)
    if _is_plausible(outer):
        packed, _, signature_of_outer = outer.rpartition(".")
        if signer.verify_signature(_outer_text(packed, signature), signature_of_outer):
            carried[HEADER_OUTER] = packed
    return carried


def _is_plausible(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= MAX_HEADER


def _signer(keys: tuple[str, ...]) -> Signer:
    # itsdangerous signs with the last key.
    return Signer(keys[::-1], salt=_SALT, digest_method=hashlib.sha256)


def _headers_of(test: TestExecution) -> dict[str, str]:
    try:
        return test.as_headers()
    except UnicodeEncodeError:
        return {}


def _outer_text(packed: str, signature: str) -> str:
    # Bound to the signature of the innermost test, so that outer tests cannot be moved to another message.
    return json.dumps([[HEADER_OUTER, packed], [HEADER_SIGNATURE, signature]])


def _signed_text(headers: Mapping[str, str]) -> str:
    # JSON delimits names and values, so that no text can be moved from one header to another.
    return json.dumps([[name, headers[name]] for name in _SIGNED if name in headers])
