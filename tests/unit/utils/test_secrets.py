"""Secrets, by names and in URLs."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from livecheck_celery.tasks.heartbeat import shown_urls
from livecheck_celery.utils.sanitize import message_of, traceback_of
from livecheck_celery.utils.secrets import Secret, is_secret, printed_url, without_url_secrets


@pytest.mark.parametrize(
    "name",
    [
        *("password", "PASSWD", "passcode", "pwd", "secret_key", "access_token", "api_key", "apiKey", "Authorization"),
        *("cvv", "card_number", "iban", "session_id", "auth.key"),
    ],
)
def test_secret_is_recognized_by_its_name(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", ["side", "keyboard", "passenger", "pinned", "shipping", "compass", "author", None, 3])
def test_other_names_are_not_secret(name: object) -> None:
    assert not is_secret(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Invalid URL 'https://ann:p@ss:w@shop:8000/'", "Invalid URL 'https://********@shop:8000/'"),
        ("amqp://guest@mq//, amqp://guest:pw@mq2//", "amqp://********@mq//, amqp://********@mq2//"),
        ("with url: /orders?id=1&api_key=k%20 (Caused", "with url: /orders?id=1&api_key=******** (Caused"),
        ("https://shop/orders?side=buy, by ann@shop", "https://shop/orders?side=buy, by ann@shop"),
        ("https://shop/?to=ann@shop", "https://shop/?to=ann@shop"),
        ("tokens=3", "tokens=3"),
        ("no server at redis://u:hun/te#r?2@host:1/0", "no server at redis://********@host:1/0"),
        ("at http://a/b,redis://u:hun/ter2@host:1", "at http://a/b,redis://********@host:1"),
        ("https://shop/x://ann@shop", "https://shop/x://********@shop"),
    ],
)
def test_login_and_secret_parameters_of_urls_are_masked(text: str, shown: str) -> None:
    assert without_url_secrets(text) == shown


@pytest.mark.promise("No text of an error makes its verdict or its log line slow.", theme="bounds")
@pytest.mark.parametrize("part", ["a.", "a-", "a://", "://a", "http://", "?a=", "a:", ":", "+.", "a@", "a://x@ "])
@pytest.mark.parametrize("end", ["", "@", "://", "://u:p@host"])
@pytest.mark.parametrize("mask", [without_url_secrets, shown_urls])
def test_no_text_is_masked_slowly(part: str, end: str, mask: Callable[[str], str]) -> None:
    def seconds() -> float:
        started = time.perf_counter()
        mask(text)
        return time.perf_counter() - started

    text = part * (32_000 // len(part)) + end
    assert min(seconds() for _ in range(3)) < 0.5  # with backtracking, it takes ten seconds


def test_errors_are_shown_without_the_secrets_of_urls() -> None:
    error = ValueError("no answer of https://ann:hunter2@shop/?token=hunter2")
    assert message_of(error) == "no answer of https://********@shop/?token=********"
    assert "hunter2" not in traceback_of(error)


def test_password_at_the_end_of_a_cut_message_is_masked() -> None:
    error = ValueError("x" * 1_980 + f" https://ann:{'hunter2' * 9}@shop/")
    assert "hunter2" not in message_of(error)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://ann:hunter2@shop:8000/orders/7?token=hunter2#x", "https://shop:8000/orders/7"),
        ("https://shop/@ann", "https://shop/..."),
        ("https://shop?to=ann@shop", "https://shop"),
        ("https://ann:hunt/er2@shop/", "https://..."),
        ("https://shop:port/", "https://..."),
        ("amqp://ann:hunt#er2@mq:5672/vhost", "amqp://mq:5672/vhost"),
        ("amqp://ann:hunter2", "amqp://..."),
        ("amqp://a:hunter2@one//;amqp://b:hunter2@two//", "amqp://one//;amqp://two//"),
        ("ann:hunter2@mq//", "mq//"),
        ("hunter:2://host", "..."),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("redis://[hunter2/0", "redis://..."),
        ("localhost", "localhost"),
        ("", ""),
    ],
)
def test_url_is_printed_without_secrets(url: str, shown: str) -> None:
    assert printed_url(url) == shown


def test_url_is_printed_without_its_path() -> None:
    assert printed_url("https://hc-ping.com/b0a1?x=1", path=False) == "https://hc-ping.com"


def test_secret_is_a_text_that_is_not_shown() -> None:
    secret = Secret("hunter2")
    assert secret == "hunter2"
    assert f"{secret}/" == "hunter2/"
    assert repr({"key": (secret,)}) == "{'key': ('********',)}"
