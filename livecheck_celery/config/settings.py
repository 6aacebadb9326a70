"""Settings of a LiveCheck: names, defaults and ranges."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field, model_validator

from livecheck_celery.config.options import Resolved
from livecheck_celery.utils.option_types import (
    MOST_ITEMS,
    Delay,
    Hostnames,
    Keys,
    Names,
    Period,
    QueueName,
    SecretHttpUrl,
    SecretText,
    Sources,
)

#: Default of `max_hop_age` in seconds: that of ``test_expires``.
MAX_HOP_AGE: Final = 10_800.0

#: Redis' own limit of one value, in bytes.
_MOST_BYTES: Final = 512 * 1024 * 1024


class Settings(Resolved):
    """Settings of a `LiveCheck`."""

    redis_url: SecretText = Field(
        min_length=1,
        description="Redis, Sentinel or cluster URL of the state. Default: the broker, when it is Redis.",
    )
    broker_url: SecretText = Field(
        description="Celery broker, or several for failover. Default: the app's `broker_url`."
    )
    service: str = Field(
        default="",
        description="Name of this service in `livecheck doctor`. Default: the Celery app's name, and the host.",
    )
    prefix: str = Field(
        default="livecheck",
        pattern=r"^[^{}\s]+$",
        description="Prefix of all Redis keys, and of the queues; a different one for each environment on a server.",
    )
    queue: QueueName = Field(
        default="livecheck", description="Queue in which tests are executed. Default: the `prefix`."
    )
    schedule_queue: QueueName = Field(
        default="livecheck.schedule",
        description="Queue of fake requests, stalled checks, recovery and the heartbeat. Default: `<prefix>.schedule`.",
    )
    redis_max_connections: int = Field(
        default=20,
        ge=4,
        le=10_000,
        description="Connections of one process to the Redis of the state; idle ones are closed after 30 s.",
    )
    test_concurrency: int = Field(
        default=100, ge=1, le=100_000, description="Tests that one worker of LiveCheck's own Celery app runs at a time."
    )
    enabled: bool = Field(default=True, description="Whether requests trigger tests and send signals.")
    send_reports: bool = Field(default=True, description="Whether reports are stored.")
    max_reports: int = Field(default=10_000, ge=1, le=MOST_ITEMS, description="Reports stored for each case.")
    max_report_bytes: int = Field(
        default=16 * 1024 * 1024, ge=1, description="Bytes of the reports stored for each case, for 30 days at most."
    )
    max_all_report_bytes: int = Field(
        default=1024 * 1024 * 1024,
        ge=1,
        description="Bytes of the reports stored for all cases that a worker declares: each has an equal share, if "
        "that is less than `max_report_bytes`.",
    )
    max_open: int = Field(
        default=100_000,
        ge=1,
        le=MOST_ITEMS,
        description="Tests of one case without a verdict; further triggers are refused.",
    )
    max_open_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=1,
        description="Bytes of the arguments and signals of these tests; further triggers are refused, and signals over "
        "twice as many. Besides, bytes of the signals of tests that have a verdict, which are else kept two minutes.",
    )
    max_payload: int = Field(
        default=64 * 1024,
        ge=1,
        le=_MOST_BYTES,
        description="Size limit, in bytes, of one signal's value or one test's arguments.",
    )
    secret_key: Keys = Field(
        default=(),
        description="Key that signs HTTP headers, and overrides, automatic signals and message options in Redis, of "
        "at least 32 bytes; `livecheck secret` makes one. Without one, no test crosses HTTP. For rotation: several, "
        "separated by commas; the first signs, all verify.",
    )
    audience: Hostnames = Field(
        default=(),
        description="Names by which other services call this one over HTTP: tests signed for another name are "
        "ignored. Default: `service`, if it is one of the names in `http_hosts`; else any name.",
    )
    max_hop_age: Period = Field(
        default=MAX_HOP_AGE,
        description="Time after which services no longer accept a test, or the mark of a fake request, over HTTP: from "
        "its trigger, or its beginning.",
    )
    http_hosts: Hostnames = Field(
        default=("localhost", "127.0.0.1", "::1"),
        description="Hosts to which tests are propagated over HTTP: names, `*.example.com`, networks such as "
        "`10.0.0.0/8`, or URLs.",
    )
    allow_sources: Sources = Field(
        default=("task:*", "request:*"),
        description="Automatic signals that this service sends, besides those of cases that it imports: `task:NAME`, "
        "`request:METHOD PATH`, `django:SIGNAL SENDER FIELDS` and `span:NAME`, in which `*` is any text.",
    )
    cases: Names = Field(default=(), description="Modules that declare cases, for LiveCheck's own Celery app.")
    recover_within: Period = Field(
        default=15.0, description="Time until the test of a dead worker runs again, given a free slot."
    )
    shutdown_timeout: Delay = Field(
        default=10.0,
        description="Grace period for running tests at shutdown; tests that still wait are handed back then.",
    )
    async_concurrency: int = Field(
        default=10_000,
        ge=1,
        le=MOST_ITEMS,
        description="Tests of the asyncio face that one process runs at a time; they hold no slot of its pool.",
    )
    heartbeat_url: SecretHttpUrl | None = Field(
        default=None, description="URL requested every minute while all cases are healthy; None disables it."
    )

    @model_validator(mode="before")
    @classmethod
    def _name_queues(cls, values: Any) -> Any:
        """Name the queues after the prefix, so that two environments on one broker do not take each other's tests."""
        if isinstance(values, dict) and isinstance(prefix := values.get("prefix"), str):
            return {"queue": prefix, "schedule_queue": f"{prefix}.schedule", **values}
        return values
