"""JSON of what LiveCheck stores: one place, so that no text of an application can prevent it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final

from pydantic_core import PydanticSerializationError, to_json

from livecheck_celery import models
from livecheck_celery.errors import InvalidPayload
from livecheck_celery.models import MAX_ERROR, SignalEvent, TestExecution, TestReport
from livecheck_celery.utils.sanitize import encodable

#: First in the JSON of every layout, so that it can be read without parsing the rest.
_LAYOUT: Final = re.compile(r'\{"layout":(\d+)')


def execution_json(test: TestExecution) -> str:
    """Encode an execution as JSON.

    Raises:
        InvalidPayload: its id or its arguments are not JSON.
    """
    return _json(test, test, {"message_options"} if test.message_options is None else None)


def event_json(event: SignalEvent) -> str:
    """Encode a signal as JSON without the fields that the script adds."""
    if event.error is not None:
        event = replace(event, error=encodable(event.error[:MAX_ERROR]))
    return _with_layout(to_json(event, exclude={"received_at", "arrivals", "first_at", "use", "send_id"}).decode())


def report_json(report: TestReport) -> str:
    """Encode a report as JSON without ``at``, which the scripts add.

    Raises:
        InvalidPayload: the id or the arguments of its test are not JSON.
    """
    error = None if report.error is None else encodable(report.error[:MAX_ERROR])
    traceback = None if report.traceback is None else encodable(report.traceback)
    exclude = {"at": True, "test": {"message_options"}}
    return _json(replace(report, error=error, traceback=traceback), report.test, exclude)


def _json(value: TestExecution | TestReport, test: TestExecution | None, exclude: Any) -> str:
    try:
        # NaN and Infinity as in Celery's messages, so that a re-sent test has the same arguments.
        return _with_layout(to_json(value, exclude=exclude, inf_nan_mode="constants").decode())
    except PydanticSerializationError as exc:
        described = "a report" if test is None else test.ident
        raise InvalidPayload(f"{described}: the arguments are not JSON: {exc}") from None


def _with_layout(text: str) -> str:
    return f'{{"layout":{models.LAYOUT},{text[1:]}'


def is_left(text: str) -> bool:
    """Return whether stored JSON has a newer layout, and must be left to processes of the newer version."""
    return (found := _LAYOUT.match(text)) is not None and models.is_newer(found[1])
