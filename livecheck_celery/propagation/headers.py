"""What crosses a hop, as headers, and back.

Celery messages carry the headers as they are: whoever can write to the broker can run any task anyway. HTTP is a trust
boundary: there the headers count only with a signature made with the shared secret.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote

from itsdangerous import Signer

from livecheck_celery.context import Token, current_test, current_test_var, synthetic_case_var
from livecheck_celery.models import (
    HEADER_EXPIRES,
    HEADER_ID,
    HEADER_NAME,
    HEADER_SIGNATURE,
    HEADER_SYNTHETIC,
    HEADER_TIMESTAMP,
    TestExecution,
)

#: Every header that carries something, in the order in which they are signed.
HEADERS: Final = (HEADER_ID, HEADER_NAME, HEADER_TIMESTAMP, HEADER_EXPIRES, HEADER_SYNTHETIC)

#: Characters in one header; longer ones did not come from here.
MAX_HEADER: Final = 4096

#: How long the mark of a fake request may be on its way; a signed one must not count for ever.
_MARK_LIFETIME: Final = timedelta(minutes=5)

_SALT: Final = "livecheck-celery.headers"


class Carried(NamedTuple):
    """What crossed the hop.

    Attributes:
        test: the test that the work is part of.
        synthetic_case: without a test, the case whose fake request the work is part of.
    """

    test: TestExecution | None
    synthetic_case: str | None


class Tokens(NamedTuple):
    """What undoes one `enter`."""

    test: Token[TestExecution | None]
    synthetic_case: Token[str | None]


NOTHING: Final = Carried(None, None)


def current() -> Carried:
    """What is in force here."""
    return Carried(current_test_var.get(), synthetic_case_var.get())


def enter(carried: Carried) -> Tokens:
    """Put ``carried`` in force, `NOTHING` too, until `leave` is called in the same context."""
    return Tokens(current_test_var.set(carried.test), synthetic_case_var.set(carried.synthetic_case))


def leave(tokens: Tokens) -> None:
    """Put back what was in force before the `enter` that gave ``tokens``."""
    current_test_var.reset(tokens.test)
    synthetic_case_var.reset(tokens.synthetic_case)


def outgoing() -> dict[str, str]:
    """Headers for the next hop: the current test's; in a fake request without a test, its mark; else none."""
    if test := current_test():
        try:
            return test.as_headers()
        except UnicodeEncodeError:  # half a surrogate pair in the id: Redis has no such test either
            return {}
    if case_name := synthetic_case_var.get():
        expires = datetime.now(UTC) + _MARK_LIFETIME
        return {HEADER_NAME: quote(case_name), HEADER_EXPIRES: expires.isoformat(), HEADER_SYNTHETIC: "1"}
    return {}


def arrived(headers: Mapping[str, Any]) -> Carried:
    """What ``headers``, spelled as LiveCheck spells them, carry; `NOTHING` when that is malformed or expired."""
    if HEADER_ID in headers:
        test = TestExecution.from_headers(headers)
        return NOTHING if test is None or test.is_expired else Carried(test, None)
    name = headers.get(HEADER_NAME)
    if headers.get(HEADER_SYNTHETIC) == "1" and isinstance(name, str) and name and _is_ahead(headers):
        return Carried(None, unquote(name))
    return NOTHING


def _is_ahead(headers: Mapping[str, Any]) -> bool:
    try:
        return datetime.fromisoformat(headers[HEADER_EXPIRES]) > datetime.now(UTC)
    except (KeyError, TypeError, ValueError):
        return False


@contextmanager
def incoming(headers: Mapping[str, Any]) -> Iterator[None]:
    """Put what ``headers`` carry in force for the block; when they carry nothing, change nothing."""
    carried = arrived(headers)
    if carried == NOTHING:
        yield
        return
    tokens = enter(carried)
    try:
        yield
    finally:
        leave(tokens)


def sign(headers: Mapping[str, str], keys: tuple[str, ...]) -> dict[str, str]:
    """``headers`` with the signature that lets them cross HTTP, made with the first of ``keys``."""
    return {**headers, HEADER_SIGNATURE: _signer(keys).get_signature(_signed_part(headers)).decode()}


def verified(headers: Mapping[str, Any], keys: tuple[str, ...]) -> Mapping[str, str] | None:
    """The headers that LiveCheck signed with one of ``keys``, and only those; None when there are none."""
    if not keys:
        return None
    signature = headers.get(HEADER_SIGNATURE, "")
    carried = {name: headers[name] for name in HEADERS if name in headers}
    if not carried or not all(_is_plausible(value) for value in (signature, *carried.values())):
        return None
    return carried if _signer(keys).verify_signature(_signed_part(carried), signature) else None


def _is_plausible(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_HEADER


def _signer(keys: tuple[str, ...]) -> Signer:
    # Signer wants the newest last.
    return Signer(keys[::-1], salt=_SALT, digest_method=hashlib.sha256)


def _signed_part(headers: Mapping[str, str]) -> str:
    # Names and values, delimited beyond doubt, so that nothing can be moved from one header to another.
    return json.dumps([[name, headers[name]] for name in HEADERS if name in headers])
