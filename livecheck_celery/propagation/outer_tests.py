"""The outer tests of a message, in one header: in nested blocks of several cases, work is part of several tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from itsdangerous import BadData
from itsdangerous.encoding import base64_decode, base64_encode
from pydantic import ValidationError

from livecheck_celery.blocks import Mark
from livecheck_celery.models import EXECUTION, TestExecution

#: Maximum number of outer tests in a message, the innermost ones.
MAX_OUTER: Final = 4
#: Maximum characters of their value; a signature makes it longer.
_MAX_LENGTH: Final = 4000

_FIELDS: Final = ("id", "case_name", "timestamp", "expires", "nonce")


def pack(tests: Sequence[TestExecution]) -> str:
    """Encode as many of ``tests`` as fit, without their arguments; an empty string if there are none."""
    rows: list[list[Any]] = []
    value = ""
    for test in tests[:MAX_OUTER]:
        rows.append([test.id, test.case_name, test.timestamp.isoformat(), test.expires.isoformat(), test.nonce])
        longer = base64_encode(json.dumps(rows, separators=(",", ":"))).decode()
        if len(longer) > _MAX_LENGTH:
            break
        value = longer
    return value


def unpack(value: object, mark: Mark | None = None) -> list[TestExecution]:
    """Decode tests that `pack` encoded, with this ``mark``; without those that are malformed."""
    if not isinstance(value, str) or not value:
        return []
    try:
        rows = json.loads(base64_decode(value))
    except (BadData, ValueError, RecursionError):
        return []
    tests = [_parse(row, mark) for row in (rows[:MAX_OUTER] if isinstance(rows, list) else ())]
    return [test for test in tests if test is not None]


def _parse(row: Any, mark: Mark | None) -> TestExecution | None:
    if not isinstance(row, list) or len(row) != len(_FIELDS):
        return None
    if isinstance(row[-1], bool):  # earlier versions have no nonce, and whether the test is synthetic in its place
        row = [*row[:-1], ""]
    try:
        given = {**dict(zip(_FIELDS, row, strict=True)), "test_args": [], "test_kwargs": {}, "mark": mark}
        return EXECUTION.validate_python(given)
    except ValidationError:
        return None
