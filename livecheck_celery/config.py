"""Settings: where they come from, what they mean, and what is a mistake.

A setting is looked up as argument > class attribute > Celery configuration (``livecheck_<name>``) > environment
(``LIVECHECK_<NAME>``) > default, the first three as they apply.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
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
)

from livecheck_celery.errors import ConfigurationError
from livecheck_celery.utils.redis_urls import BROKER_SCHEMES, CLUSTER, of_broker, scheme_of

DEFAULT_URL: Final = "redis://localhost:6379/0"

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*")


def seconds(value: Any) -> Any:
    """Seconds of a number, a timedelta, or a string such as ``"30s"``, ``"5m"`` or ``"3h"``.

    Anything else is handed on unchanged, for the model to judge.
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
        raise ValueError("it should be a URL that begins with http:// or https://, and name a host")
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
        """Build from ``arguments``, and for what they lack the first of ``sources`` that has it.

        ``owner`` names the thing being set up in errors. None in an argument means "not given".

        Raises:
            ConfigurationError: an unknown option, or a value out of its range.
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
    """Settings of a whole LiveCheck.

    Attributes:
        redis_url: where state lives; the broker's URL when that is Redis.
        broker_url: the Celery broker.
        prefix: what all Redis keys begin with.
        queue: where tests are executed.
        schedule_queue: where fake requests, stalled checks and recovery run.
        test_concurrency: tests one worker runs at a time.
        send_reports: whether reports are kept.
        max_reports: reports kept for each case.
        max_open: tests of each case that may be without a verdict; more are not triggered.
        enabled: whether requests trigger tests and send signals at all.
        max_payload: bytes, of one signal's value or one test's arguments.
        secret_key: signs what crosses HTTP; without one, nothing crosses. Of several the first signs, and any is
            believed, so that keys can be exchanged one after the other.
        http_hosts: hosts that tests may be carried to over HTTP.
        cases: modules that declare cases.
        recover_within: seconds in which a test whose worker died is running again, given a free slot.
        shutdown_timeout: seconds for which a worker that is to stop lets its tests go on before it hands them back.
        heartbeat_url: what is asked for once a minute while all is well; None for nothing.
    """

    redis_url: str
    broker_url: str
    prefix: str = Field(default="livecheck", pattern=r"^[^{}\s]+$")
    queue: str = Field(default="livecheck", min_length=1)
    schedule_queue: str = Field(default="livecheck.schedule", min_length=1)
    test_concurrency: int = Field(default=100, ge=1)
    enabled: bool = True
    send_reports: bool = True
    max_reports: int = Field(default=10_000, ge=1)
    max_open: int = Field(default=100_000, ge=1)
    max_payload: int = Field(default=1024 * 1024, ge=1)
    secret_key: Names = ()
    http_hosts: Names = ("localhost", "127.0.0.1", "::1")
    cases: Names = ()
    recover_within: Period = 15.0
    shutdown_timeout: Delay = 10.0
    heartbeat_url: HttpUrl | None = None


class CaseSettings(_Resolved):
    """Settings of one case; meanings and defaults are the reference's (``livecheck.Case``)."""

    active: bool = True
    probability: float = Field(default=0.5, ge=0, le=1)
    warn_stalled_after: Period = 1800.0
    test_expires: Annotated[timedelta, BeforeValidator(_test_expires), Field(gt=timedelta(0))] = timedelta(hours=3)
    frequency: Annotated[Period | InstanceOf[BaseSchedule] | None, BeforeValidator(_frequency)] = None
    realtime_logs: bool = False
    max_runtime: Period | None = None
    max_history: int = Field(default=100, ge=1)
    max_consecutive_failures: int = Field(default=30, ge=1)
    state_transition_delay: Delay = 60.0
    url_timeout_total: Period | None = 300.0
    url_timeout_connect: Period | None = None
    url_error_retries: int = Field(default=10, ge=0)
    url_error_delay_min: Delay = 0.5
    url_error_delay_backoff: float = Field(default=1.5, ge=0, allow_inf_nan=False)
    url_error_delay_max: Delay = 5.0


def from_conf(conf: Any) -> Callable[[str], Any]:
    """A source of settings: a Celery configuration."""
    return lambda name: conf.get(f"livecheck_{name}")


def from_environ(environ: Mapping[str, str]) -> Callable[[str], Any]:
    """A source of settings: the environment."""
    return lambda name: environ.get(f"LIVECHECK_{name.upper()}")


def resolve_settings(conf: Any, environ: Mapping[str, str], arguments: Mapping[str, Any]) -> Settings:
    """The settings of a LiveCheck on a Celery app with configuration ``conf``.

    Raises:
        ConfigurationError: a setting is wrong, or no Redis is named and the broker is not one.
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
            "LiveCheck: broker_url: Celery cannot use a Redis Cluster as its broker; name another Redis or RabbitMQ, "
            "and keep the state in the cluster by livecheck_redis_url"
        )
    if not redis_url:
        if scheme_of(str(broker_url)) not in BROKER_SCHEMES:
            raise ConfigurationError(
                "LiveCheck: redis_url: the broker is not Redis, so the Redis that holds the state must be named: "
                "set livecheck_redis_url or LIVECHECK_REDIS_URL"
            )
        redis_url = of_broker(str(broker_url), conf.broker_transport_options, conf.broker_use_ssl)
    return Settings.resolve("LiveCheck", sources, {**arguments, "redis_url": redis_url, "broker_url": broker_url})


def explain(error: ValidationError) -> str:
    """A validation error in one line: each field and what is wrong with it."""
    parts = []
    for problem in error.errors(include_url=False):
        place = ".".join(str(part) for part in problem["loc"] if not str(part).startswith("function-"))
        parts.append(f"{place}: {problem['msg']}" if place else problem["msg"])
    return "; ".join(parts)
