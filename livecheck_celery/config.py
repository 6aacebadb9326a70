"""Settings: their names, defaults, ranges and sources.

A setting is looked up as argument > class attribute > Celery configuration (``livecheck_<name>``) > environment
(``LIVECHECK_<NAME>``) > default; class attributes apply to cases only.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Annotated, Any, Final, Self, TypeVar
from urllib.parse import urlsplit

from celery.schedules import BaseSchedule
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    ValidationError,
    model_validator,
)

from livecheck_celery.errors import ConfigurationError
from livecheck_celery.utils.redis_urls import BROKER_SCHEMES, CLUSTER, from_broker, scheme_of

DEFAULT_URL: Final = "redis://localhost:6379/0"

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*")


def seconds(value: Any) -> Any:
    """Convert a number, a timedelta, or a string such as ``"30s"``, ``"5m"`` or ``"3h"`` to seconds.

    Other values are returned unchanged, for the model to validate.
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        return float(match[1]) * _UNITS[match[2]]
    return value


def _frequency(value: Any) -> Any:
    return value if isinstance(value, BaseSchedule) else seconds(value)


def _names(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("it must be an http:// or https:// URL with a host")
    return value


def _test_expires(value: Any) -> Any:
    value = seconds(value)
    try:
        return timedelta(seconds=float(value))
    except (TypeError, ValueError):
        return value


Delay = Annotated[float, BeforeValidator(seconds), Field(ge=0, allow_inf_nan=False)]
Period = Annotated[float, BeforeValidator(seconds), Field(gt=0, allow_inf_nan=False)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]

M = TypeVar("M", bound="_Resolved")


class _Resolved(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    @classmethod
    def resolve(
        cls,
        owner: str,
        sources: tuple[Callable[[str], Any], ...],
        arguments: Mapping[str, Any],
    ) -> Self:
        """Build the settings from ``arguments``, then from the first of ``sources`` that has the name.

        ``owner`` names the object being configured in errors. None in an argument means "not given".

        Raises:
            ConfigurationError: an option is unknown, or a value is out of range.
        """
        values = {name: value for name, value in arguments.items() if value is not None}
        for name in cls.model_fields.keys() - values.keys():
            found = next((value for source in sources if (value := source(name)) not in (None, "")), None)
            if found is not None:
                values[name] = found
        try:
            return cls(**values)
        except ValidationError as exc:
            raise ConfigurationError(f"{owner}: {explain(exc)}") from None


class Settings(_Resolved):
    """Settings of a `LiveCheck`."""

    redis_url: str = Field(
        description="Redis, Sentinel or cluster URL of the state. Default: the broker, when it is Redis."
    )
    broker_url: str = Field(description="Celery broker. Default: the app's `broker_url`.")
    service: str = Field(
        default="",
        description="Name of this service in `livecheck doctor`. Default: the Celery app's name, and the host.",
    )
    prefix: str = Field(
        default="livecheck",
        pattern=r"^[^{}\s]+$",
        description="Prefix of all Redis keys, and of the queues; a different one for each environment on a server.",
    )
    queue: str = Field(
        default="livecheck", min_length=1, description="Queue in which tests are executed. Default: the `prefix`."
    )
    schedule_queue: str = Field(
        default="livecheck.schedule",
        min_length=1,
        description="Queue of fake requests, stalled checks, recovery and the heartbeat. Default: `<prefix>.schedule`.",
    )
    redis_max_connections: int = Field(
        default=20,
        ge=4,
        description="Connections of one process to the Redis of the state; idle ones are closed after 30 s.",
    )
    test_concurrency: int = Field(
        default=100, ge=1, description="Tests that one worker of LiveCheck's own Celery app runs at a time."
    )
    enabled: bool = Field(default=True, description="Whether requests trigger tests and send signals.")
    send_reports: bool = Field(default=True, description="Whether reports are stored.")
    max_reports: int = Field(default=10_000, ge=1, description="Reports stored for each case.")
    max_open: int = Field(
        default=100_000, ge=1, description="Tests of one case without a verdict; further triggers are refused."
    )
    max_payload: int = Field(
        default=1024 * 1024, ge=1, description="Size limit, in bytes, of one signal's value or one test's arguments."
    )
    secret_key: Names = Field(
        default=(),
        description="Key that signs HTTP headers. Without one, no test crosses HTTP. For rotation: several, "
        "separated by commas; the first signs, all verify.",
    )
    http_hosts: Names = Field(
        default=("localhost", "127.0.0.1", "::1"), description="Hosts to which tests are propagated over HTTP."
    )
    cases: Names = Field(default=(), description="Modules that declare cases, for LiveCheck's own Celery app.")
    recover_within: Period = Field(
        default=15.0, description="Time until the test of a dead worker runs again, given a free slot."
    )
    shutdown_timeout: Delay = Field(
        default=10.0,
        description="Grace period for running tests at shutdown; tests that still wait are handed back then.",
    )
    heartbeat_url: HttpUrl | None = Field(
        default=None, description="URL requested every minute while all cases are healthy; None disables it."
    )

    @model_validator(mode="before")
    @classmethod
    def _name_queues(cls, values: Any) -> Any:
        """Name the queues after the prefix, so that two environments on one broker do not take each other's tests."""
        if isinstance(values, dict) and isinstance(prefix := values.get("prefix"), str):
            return {"queue": prefix, "schedule_queue": f"{prefix}.schedule", **values}
        return values


class UrlOptions:
    """Options of the HTTP requests of a case, with their defaults."""

    url_timeout_total: Annotated[
        Period | None, Field(description="Limit for one attempt, from DNS lookup to last byte.")
    ] = 300.0
    url_timeout_connect: Annotated[Period | None, Field(description="Limit for connecting.")] = None
    url_error_retries: Annotated[int, Field(ge=0, description="Retries after a failed attempt.")] = 10
    url_error_delay_min: Annotated[Delay, Field(description="Delay before the first retry.")] = 0.5
    url_error_delay_backoff: Annotated[
        float, Field(ge=0, allow_inf_nan=False, description="Factor from one delay to the next.")
    ] = 1.5
    url_error_delay_max: Annotated[Delay, Field(description="Longest delay.")] = 5.0


@dataclass(frozen=True, kw_only=True)
class UrlSettings:
    """The six ``url_*`` options of a case as one value: timeouts and retries of an HTTP request.

    Attributes:
        timeout_total: seconds for one attempt, from the DNS lookup to the last byte; None for no limit.
        timeout_connect: seconds for connecting; None for no limit but ``timeout_total``.
        error_retries: retries after a failed attempt.
        error_delay_min: seconds before the first retry.
        error_delay_backoff: factor from one delay to the next.
        error_delay_max: longest delay in seconds.
    """

    timeout_total: float | None
    timeout_connect: float | None
    error_retries: int
    error_delay_min: float
    error_delay_backoff: float
    error_delay_max: float

    @classmethod
    def of(cls, options: UrlOptions) -> Self:
        """Collect the ``url_*`` attributes of a case."""
        return cls(**{field.name: getattr(options, f"url_{field.name}") for field in fields(cls)})


class CaseOptions(UrlOptions):
    """Options of a case with their defaults, which are the reference's (``livecheck.Case``)."""

    active: Annotated[bool, Field(description="Whether tests of the case are triggered and run.")] = True
    probability: Annotated[float, Field(ge=0, le=1, description="Share of requests that `maybe_trigger` tests.")] = 0.5
    warn_stalled_after: Annotated[
        Period, Field(description="Time without any test after which the suite is STALL.")
    ] = 1800.0
    test_expires: Annotated[
        timedelta,
        BeforeValidator(_test_expires),
        Field(gt=timedelta(0), description="Time after the trigger from which a test is no longer run."),
    ] = timedelta(hours=3)
    frequency: Annotated[
        Period | InstanceOf[BaseSchedule] | None,
        BeforeValidator(_frequency),
        Field(description="Time between fake requests, or a Celery schedule; None for no fake requests."),
    ] = None
    realtime_logs: Annotated[
        bool, Field(description="Whether lines of a test are logged at once, not together after the verdict.")
    ] = False
    max_runtime: Annotated[
        Period | None, Field(description="Time after which a `run()` that has not returned is a TIMEOUT.")
    ] = None
    max_history: Annotated[int, Field(ge=1, description="Items in each history.")] = 100
    max_consecutive_failures: Annotated[
        int, Field(ge=1, description="Failed tests in a row with which the suite fails.")
    ] = 30
    max_failure_rate: Annotated[
        float, Field(ge=0, le=1, description="Share of failed tests above which the suite fails; 1 disables it.")
    ] = 0.2
    failure_rate_window: Annotated[
        Period,
        Field(description="Time over which that share is measured; longer if there are few tests."),
    ] = 60.0
    failure_rate_tests: Annotated[
        int,
        Field(
            ge=1,
            description="Tests without which that share is not judged. It is measured over five times as many, or all "
            "tests of `failure_rate_window` if those are more; and this many passes in a row end the failure.",
        ),
    ] = 20
    state_transition_delay: Annotated[
        Delay, Field(description="Time after a suite failure in which a pass does not restore the status.")
    ] = 60.0


with warnings.catch_warnings():
    # Older versions of pydantic warn of every field that a base class declares which is not a model.
    warnings.filterwarnings("ignore", r"Field name .* shadows an attribute in parent")

    class CaseSettings(CaseOptions, _Resolved):
        """Validated options of one case."""


def from_conf(conf: Any) -> Callable[[str], Any]:
    """Return a source of settings: a Celery configuration."""
    return lambda name: conf.get(f"livecheck_{name}")


def from_environ(environ: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a source of settings: the environment."""
    return lambda name: environ.get(f"LIVECHECK_{name.upper()}")


def resolve_settings(conf: Any, environ: Mapping[str, str], arguments: Mapping[str, Any]) -> Settings:
    """Resolve the settings of a LiveCheck on a Celery app with configuration ``conf``.

    Raises:
        ConfigurationError: a setting is wrong, or the broker is not Redis and ``redis_url`` is missing.
    """
    sources = (from_conf(conf), from_environ(environ))

    def given(name: str) -> Any:
        return arguments.get(name) or next((value for source in sources if (value := source(name))), None)

    broker_url = given("broker_url") or conf.broker_write_url
    redis_url = given("redis_url")
    if not broker_url:
        broker_url = redis_url or DEFAULT_URL
    if scheme_of(str(broker_url)) in CLUSTER:
        raise ConfigurationError(
            "LiveCheck: broker_url: Celery cannot use a Redis Cluster as its broker; use another Redis or RabbitMQ as "
            "the broker, and the cluster for the state: livecheck_redis_url"
        )
    if not redis_url:
        if scheme_of(str(broker_url)) not in BROKER_SCHEMES:
            raise ConfigurationError(
                "LiveCheck: redis_url: the broker is not Redis; name the Redis that holds the state: "
                "set livecheck_redis_url or LIVECHECK_REDIS_URL"
            )
        redis_url = from_broker(str(broker_url), conf.broker_transport_options, conf.broker_use_ssl)
    return Settings.resolve("LiveCheck", sources, {**arguments, "redis_url": redis_url, "broker_url": broker_url})


def explain(error: ValidationError) -> str:
    """Format a validation error as one line: each field and what is wrong with it."""
    parts = []
    for problem in error.errors(include_url=False):
        place = ".".join(str(part) for part in problem["loc"] if not str(part).startswith("function-"))
        parts.append(f"{place}: {problem['msg']}" if place else problem["msg"])
    return "; ".join(parts)
