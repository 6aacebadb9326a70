"""Types of settings, which pydantic validates: durations, lists of names, hosts and URLs."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from celery.schedules import BaseSchedule
from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf

from livecheck_celery.utils.durations import duration
from livecheck_celery.utils.hosts import check_hosts
from livecheck_celery.utils.secrets import Secret

#: Longest duration in seconds: ten years. Longer ones overflow dates.
LONGEST: Final = 3650 * 86400.0
#: Longest timeout in seconds of a socket, which counts milliseconds in 31 bits.
LONGEST_TIMEOUT: Final = 24 * 86400.0
#: Limit of lists and streams in Redis.
MOST_ITEMS: Final = 10_000_000
#: Bytes of the shortest secret key: as many as the signatures have.
SHORTEST_KEY: Final = 32


def _frequency(value: Any) -> Any:
    if isinstance(value, BaseSchedule) or value is None:
        return value
    return duration(value) or None


def _names(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, list | tuple | set | frozenset):
        # An empty one is an unset variable: as a secret key, it would accept the headers of anybody.
        return tuple(part for part in value if not (isinstance(part, str | bytes) and not part.strip()))
    return value


def _keys(value: tuple[str, ...]) -> tuple[str, ...]:
    # A shorter one can be guessed: whoever sees one signature can try all keys.
    if any(len(key.encode()) < SHORTEST_KEY for key in value):
        raise ValueError(f"each key must have at least {SHORTEST_KEY} bytes; to make one, run: livecheck secret")
    return tuple(map(Secret, value))


def _http_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        is_valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # its message quotes the URL
        is_valid = False
    if not is_valid:
        raise ValueError("it must be an http:// or https:// URL with a host")
    return value


def _hosts(value: tuple[str, ...]) -> tuple[str, ...]:
    check_hosts(value)
    return value


def _sources(value: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in value:
        kind, _, name = pattern.partition(":")
        if kind not in ("task", "request", "django", "span") or not name:
            raise ValueError(
                f"{pattern!r:.100} must be task:NAME, request:METHOD PATH, django:SIGNAL SENDER FIELDS or span:NAME"
            )
    return value


def _queue(value: str) -> str:
    if value == "celery":  # workers of LiveCheck would take the messages of an app
        raise ValueError("must not be Celery's default queue, 'celery'")
    return value


def _test_expires(value: Any) -> timedelta:
    expires = duration(value)
    if not 0 < expires <= LONGEST:  # in seconds, as pydantic shows limits of a timedelta as code
        raise ValueError(f"must be more than 0 and at most {LONGEST:.0f} seconds")
    return timedelta(seconds=expires)


Delay = Annotated[float, BeforeValidator(duration), Field(ge=0, le=LONGEST)]
Period = Annotated[float, BeforeValidator(duration), Field(gt=0, le=LONGEST)]
Timeout = Annotated[float, Field(gt=0, le=LONGEST_TIMEOUT)]
SecretText = Annotated[str, AfterValidator(Secret)]
SecretHttpUrl = Annotated[str, AfterValidator(_http_url), AfterValidator(Secret)]
QueueName = Annotated[str, Field(min_length=1), AfterValidator(_queue)]
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
Sources = Annotated[Names, AfterValidator(_sources)]
Keys = Annotated[Names, AfterValidator(_keys)]
Hostnames = Annotated[tuple[str, ...], BeforeValidator(_names), AfterValidator(_hosts)]
Frequency = Annotated[
    Annotated[float, Field(gt=0, le=LONGEST)] | InstanceOf[BaseSchedule] | None, BeforeValidator(_frequency)
]
Expiry = Annotated[timedelta, BeforeValidator(_test_expires)]
