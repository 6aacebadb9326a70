"""The scripts of executions."""

from __future__ import annotations

from typing import Final

from livecheck_celery.store.database import REPORT_LIMITS
from livecheck_celery.store.scripts import Script

RECORD: Final = Script(
    "record",
    keys=("test", "open", "signals", "suite", "unrecorded", "unrecorded_bytes"),
    args=(
        "id",
        "payload",
        "expires_in",
        "delay",
        "resend_after",
        "keep",
        "max_open",
        "layout",
        "use",
        "max_open_bytes",
        "max_rate",
        "burst",
        "synthetic",
    ),
)
CLAIM: Final = Script(
    "claim",
    keys=("test", "open", "signals", "suite", "frequency", "latency"),
    args=(
        "id",
        "payload",
        "token",
        "address",
        "lease",
        "active",
        "period",
        "max_history",
        "expires_in",
        "keep",
        "signal_ttl",
        "recorded_at",
        "forget_after",
        "layout",
        "use",
        "limits",
    ),
)
RENEW: Final = Script("renew", keys=("test", "open"), args=("id", "token", "lease"))
RELEASE: Final = Script("release", keys=("test", "open"), args=("id", "token"))
VERDICT: Final = Script(
    "verdict",
    keys=("test", "open", "signals", "suite", "runtime_history", "reports"),
    args=(
        "id",
        "token",
        "verdict",
        "runtime",
        "max_history",
        "delay",
        "report",
        *REPORT_LIMITS,
        "forget_after",
        "remember",
        "max_consecutive_failures",
        "max_failure_rate",
        "failure_rate_window",
        "failure_rate_tests",
        "max_open_bytes",
    ),
)
DUE: Final = Script("due", keys=("open",), args=("limit",))
DISCARD: Final = Script("discard", keys=("test", "open", "suite"), args=("id",))
UNSENT: Final = Script("unsent", keys=("test", "open"), args=("id", "taken"))
PUT_OFF: Final = Script("put_off", keys=("test", "open"), args=("id", "recorded_at", "resend_after", "max_resend"))
REVOKE: Final = Script("revoke", keys=("test", "open"), args=("id", "token", "recorded_at", "closing_lease", "layout"))
RECOVER: Final = Script(
    "recover",
    keys=("test", "open", "suite"),
    args=("id", "token", "max_attempts", "resend_after", "max_resend", "closing_lease", "layout"),
)
