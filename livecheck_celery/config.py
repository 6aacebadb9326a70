"""Settings: their names, defaults, ranges and sources.

A setting is looked up as argument > class attribute > Celery configuration (``livecheck_<name>``) > environment
(``LIVECHECK_<NAME>``) > default; class attributes apply to cases only.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from enum import Enum, auto
from functools import cache
from types import NoneType
from typing import Annotated, Any, Final, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from livecheck_celery.errors import ConfigurationError
from livecheck_celery.utils.broker_urls import check_broker_url, failover_urls, joined
from livecheck_celery.utils.durations import optional_duration
from livecheck_celery.utils.durations import seconds as seconds  # noqa: PLC0414 - part of this module for its users
from livecheck_celery.utils.option_types import (
    LONGEST,
    Delay,
    Expiry,
    Frequency,
    Hostnames,
    Keys,
    Names,
    Period,
    QueueName,
    SecretHttpUrl,
    SecretText,
    Sources,
    Timeout,
)
from livecheck_celery.utils.redis_urls import BROKER_SCHEMES, CLUSTER, for_broker, from_broker, parse, scheme_of
from livecheck_celery.utils.sanitize import get_logger, type_and_message
from livecheck_celery.utils.signal_handlers import reraise_from_handler
from livecheck_celery.utils.validation import explain_options, unknown_names

logger = get_logger(__name__)

DEFAULT_URL: Final = "redis://localhost:6379/0"
#: Default of `max_hop_age` in seconds: that of ``test_expires``.
MAX_HOP_AGE: Final = 10_800.0

#: Limit of lists and streams in Redis.
_MOST_ITEMS: Final = 10_000_000
#: Limit of one history, which is read whole.
_MOST_HISTORY: Final = 100_000
#: Redis' own limit of one value, in bytes.
_MOST_BYTES: Final = 512 * 1024 * 1024


class NotGiven(Enum):
    """The type of `NOT_GIVEN`, the value of an option that its source does not have; None can be a value."""

    NOT_GIVEN = auto()


NOT_GIVEN: Final = NotGiven.NOT_GIVEN


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

        ``owner`` names the object being configured in errors. None means "not given", except for an option that can be
        None.

        Raises:
            ConfigurationError: an option is unknown, or a value is out of range.
        """
        values = {name: value for name, value in arguments.items() if cls._is_given(name, value)}
        for name in cls.model_fields.keys() - values.keys():
            for source in sources:
                value = source(name)
                if cls._is_given(name, value) and not _is_empty(value):
                    values[name] = value
                    break
        try:
            return cls(**values)
        except ValidationError as exc:
            raise ConfigurationError(f"{owner}: {explain_options(exc, cls.model_fields)}") from None
        except Exception as exc:  # noqa: BLE001 - a value that raises when it is looked at
            reraise_from_handler(exc)
            raise ConfigurationError(f"{owner}: a setting cannot be read: {type_and_message(exc)}") from None

    @classmethod
    def _is_given(cls, name: str, value: Any) -> bool:
        if value is None and name in cls.model_fields:
            return NoneType in get_args(cls.model_fields[name].annotation)
        return value is not None and value is not NOT_GIVEN


def _is_empty(value: Any) -> bool:
    return isinstance(value, str) and not value


class Settings(_Resolved):
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
    max_reports: int = Field(default=10_000, ge=1, le=_MOST_ITEMS, description="Reports stored for each case.")
    max_report_bytes: int = Field(
        default=16 * 1024 * 1024, ge=1, description="Bytes of the reports stored for each case, for 30 days at most."
    )
    max_open: int = Field(
        default=100_000,
        ge=1,
        le=_MOST_ITEMS,
        description="Tests of one case without a verdict; further triggers are refused.",
    )
    max_open_bytes: int = Field(
        default=64 * 1024 * 1024,
        ge=1,
        description="Bytes of the records of these tests, mostly their arguments; further triggers are refused.",
    )
    max_payload: int = Field(
        default=64 * 1024,
        ge=1,
        le=_MOST_BYTES,
        description="Size limit, in bytes, of one signal's value or one test's arguments.",
    )
    secret_key: Keys = Field(
        default=(),
        description="Key that signs HTTP headers, and overrides and automatic signals in Redis, of at least 32 bytes; "
        "`livecheck secret` makes one. Without one, no test crosses HTTP. For rotation: several, separated by commas; "
        "the first signs, all verify.",
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


class UrlOptions:
    """Options of the HTTP requests of a case, with their defaults."""

    url_timeout_total: Annotated[
        Timeout | None,
        BeforeValidator(optional_duration),
        Field(description="Limit for one attempt, from DNS lookup to last byte; None for no limit."),
    ] = 300.0
    url_timeout_connect: Annotated[
        Timeout | None, BeforeValidator(optional_duration), Field(description="Limit for connecting; None for none.")
    ] = None
    url_error_retries: Annotated[int, Field(ge=0, le=_MOST_ITEMS, description="Retries after a failed attempt.")] = 10
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
    probability: Annotated[
        float, Field(ge=0, le=1, allow_inf_nan=False, description="Share of requests that `maybe_trigger` tests.")
    ] = 0.5
    warn_stalled_after: Annotated[
        Period, Field(description="Time without any test after which the suite is STALL.")
    ] = 1800.0
    test_expires: Annotated[Expiry, Field(description="Time after the trigger from which a test is no longer run.")] = (
        timedelta(hours=3)
    )
    frequency: Annotated[
        Frequency,
        Field(description="Time between fake requests, or a Celery schedule; None or 0 for no fake requests."),
    ] = None
    realtime_logs: Annotated[
        bool, Field(description="Whether lines of a test are logged at once, not together after the verdict.")
    ] = False
    max_runtime: Annotated[
        Annotated[float, Field(gt=0, le=LONGEST)] | None,
        BeforeValidator(optional_duration),
        Field(description="Time after which a `run()` that has not returned is a TIMEOUT."),
    ] = None
    max_rate: Annotated[
        Annotated[float, Field(gt=0, allow_inf_nan=False)] | None,
        Field(
            description="Tests a second, over ten seconds, for those of fake requests and for all others each; further "
            "triggers are refused. None for no limit."
        ),
    ] = 100.0
    max_history: Annotated[int, Field(ge=1, le=_MOST_HISTORY, description="Items in each history.")] = 100
    max_consecutive_failures: Annotated[
        int, Field(ge=1, le=_MOST_ITEMS, description="Failed tests in a row with which the suite fails.")
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
            le=_MOST_ITEMS,
            description="Tests without which that share is not judged. It is measured over five times as many, or all "
            "tests of `failure_rate_window` if those are more; and this many passes in a row end the failure.",
        ),
    ] = 20
    state_transition_delay: Annotated[
        Delay, Field(description="Time after a suite failure in which a pass does not restore the status.")
    ] = 60.0


#: Options that can be overridden at run time.
OVERRIDABLE: Final = ("active", "probability")


with warnings.catch_warnings():
    # Older versions of pydantic warn of every field that a base class declares which is not a model.
    warnings.filterwarnings("ignore", r"Field name .* shadows an attribute in parent")

    class CaseSettings(CaseOptions, _Resolved):
        """Validated options of one case."""


def from_conf(conf: Any) -> Callable[[str], Any]:
    """Return a source of settings: a Celery configuration."""
    return lambda name: conf.get(f"livecheck_{name}", NOT_GIVEN)


def from_environ(environ: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a source of settings: the environment."""
    return lambda name: environ.get(f"LIVECHECK_{name.upper()}", NOT_GIVEN)


@cache
def _warn(line: str) -> None:
    """Log a warning once in a process: settings are resolved each time a case is declared."""
    logger.warning("settings: %s", line)


def resolve_settings(conf: Any, environ: Mapping[str, str], arguments: Mapping[str, Any]) -> Settings:
    """Resolve the settings of a LiveCheck on a Celery app with configuration ``conf``.

    Raises:
        ConfigurationError: a setting is wrong, or the broker is not Redis and ``redis_url`` is missing.
    """
    try:
        return _resolve_settings(conf, environ, arguments)
    except ConfigurationError as exc:
        error = exc.with_traceback(None)
    del conf, environ, arguments  # a traceback with local variables would show their secrets
    raise error


def _resolve_settings(conf: Any, environ: Mapping[str, str], arguments: Mapping[str, Any]) -> Settings:
    sources = (from_conf(conf), from_environ(environ))
    known = {*Settings.model_fields, *CaseSettings.model_fields}
    for line in unknown_names(conf, environ, known):
        _warn(line)

    def given(name: str) -> str:
        found = (value for source in (arguments.get, *sources) if (value := source(name)) and value is not NOT_GIVEN)
        try:
            return joined(next(found, ""))
        except Exception as exc:  # noqa: BLE001 - as above
            reraise_from_handler(exc)
            raise ConfigurationError(f"LiveCheck: {name}: must be text: {type_and_message(exc)}") from None

    broker_url, redis_url = given("broker_url") or joined(conf.broker_write_url or ""), given("redis_url")
    try:
        if redis_url:
            parse(redis_url)  # before the broker's, which the shipped celeryconfig.py makes of it
        broker_url = broker_url or for_broker(redis_url or DEFAULT_URL)
    except ValueError as exc:
        raise ConfigurationError(f"LiveCheck: {exc}") from None
    if any(scheme_of(url) in CLUSTER for url in failover_urls(broker_url)):
        raise ConfigurationError(
            "LiveCheck: broker_url: Celery cannot use a Redis Cluster as its broker; use another Redis or RabbitMQ as "
            "the broker, and the cluster for the state: livecheck_redis_url"
        )
    try:
        check_broker_url(broker_url, conf.broker_transport_options)
        redis_url = redis_url or _redis_url_of_broker(broker_url, conf)
        url = parse(redis_url)
    except ValueError as exc:
        raise ConfigurationError(f"LiveCheck: {exc}") from None
    arguments = {**arguments, "redis_url": redis_url, "broker_url": broker_url}
    if not given("redis_max_connections") and (limit := url.options.get("max_connections")):
        arguments["redis_max_connections"] = limit
    return Settings.resolve("LiveCheck", sources, arguments)


def _redis_url_of_broker(broker_url: str, conf: Any) -> str:
    brokers = failover_urls(broker_url)
    if any(scheme_of(url) not in BROKER_SCHEMES for url in brokers):
        problem = "the broker is not Redis; name the Redis that holds the state"
    elif len(brokers) > 1:
        problem = "broker_url names several servers, but the state is in one; name it"
    else:
        return from_broker(broker_url, conf.broker_transport_options, conf.broker_use_ssl)
    raise ConfigurationError(f"LiveCheck: redis_url: {problem}: set livecheck_redis_url or LIVECHECK_REDIS_URL")
