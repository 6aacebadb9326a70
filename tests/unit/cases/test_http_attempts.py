"""Descriptions of failures, for both faces."""

from __future__ import annotations

import errno
import socket

import pytest

from livecheck_celery.cases.http_attempts import explain, root_of

REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)")


def failed(cause: BaseException) -> BaseException:
    error = OSError("All connection attempts failed")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (failed(REFUSED), "Connection refused"),
        (failed(ExceptionGroup("several addresses", [OSError("no route"), REFUSED])), "Connection refused"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (ValueError("two\nlines"), "two lines"),
        (ValueError(), "ValueError"),
    ],
)
def test_failure_is_described_by_its_first_cause(error: BaseException, text: str) -> None:
    assert explain(root_of(error)) == text
