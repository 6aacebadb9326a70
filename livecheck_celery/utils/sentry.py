"""Tags and fingerprints of Sentry events, in processes that have imported ``sentry_sdk``; others import nothing.

An event that is captured in a test has the tags ``livecheck.case`` and ``livecheck.test``. The event of a verdict is
grouped by the case and the cause of the failure, which the log record has, and not by the template of the log message.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from livecheck_celery.utils.sanitize import get_logger, sanitize
from livecheck_celery.utils.signal_handlers import errors_ignored

logger = get_logger(__name__)

#: Attributes of a log record: what failed, in words that are the same for each test with the same failure.
CASE: Final = "livecheck_case"
CAUSE: Final = "livecheck_cause"

_SENTRY: Final = "sentry_sdk"
#: Longest value of a tag, in characters, by Sentry's documentation.
_MAX_TAG: Final = 200

_is_connected = False


def connect(identity: Callable[[], tuple[str, str] | None]) -> None:
    """Tag the events of this process, once, if it has imported ``sentry_sdk``; also before ``sentry_sdk.init()``.

    Args:
        identity: returns name of the case and id of the test that the running code is part of, or None.
    """
    global _is_connected  # noqa: PLW0603 - Sentry's processors are global, too
    if _is_connected or _SENTRY not in sys.modules:
        return
    _is_connected = True
    try:
        from sentry_sdk.scope import add_global_event_processor  # noqa: PLC0415 - see above

        add_global_event_processor(lambda event, hint: _processed(event, hint, identity))
    except Exception:
        logger.exception("sentry: failed to connect; events have no tags of LiveCheck")


def remember(error: BaseException, case_name: str, test_id: str) -> None:
    """Note on ``error`` the test in which it was raised, for code outside of the test that captures it."""
    if _is_connected:
        with errors_ignored():  # an exception can refuse attributes
            error.__livecheck_test__ = (case_name, test_id)  # type: ignore[attr-defined] # ours, on any error


def _processed(event: Any, hint: Any, identity: Callable[[], tuple[str, str] | None]) -> Any:
    """Return ``event`` with tags and fingerprint; Sentry ignores what this raises."""
    error = (hint or {}).get("exc_info", (None, None, None))[1]
    found = identity() or getattr(error, "__livecheck_test__", None)
    tags = event.setdefault("tags", {})
    if found is not None and isinstance(tags, dict):
        case_name, test_id = found
        tags.setdefault("livecheck.case", sanitize(case_name)[:_MAX_TAG])
        tags.setdefault("livecheck.test", sanitize(test_id)[:_MAX_TAG])
    record = (hint or {}).get("log_record")
    cause = getattr(record, CAUSE, None)
    if cause is not None:
        event["fingerprint"] = ["livecheck", getattr(record, CASE, ""), cause]
    return event
