"""Secrets, by names and in URLs."""

from __future__ import annotations

import pytest

from livecheck_celery.utils.sanitize import message_of, traceback_of
from livecheck_celery.utils.secrets import is_secret, without_url_secrets


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
    ],
)
def test_login_and_secret_parameters_of_urls_are_masked(text: str, shown: str) -> None:
    assert without_url_secrets(text) == shown


def test_errors_are_shown_without_the_secrets_of_urls() -> None:
    error = ValueError("no answer of https://ann:hunter2@shop/?token=hunter2")
    assert message_of(error) == "no answer of https://********@shop/?token=********"
    assert "hunter2" not in traceback_of(error)


def test_password_at_the_end_of_a_cut_message_is_masked() -> None:
    error = ValueError("x" * 1_980 + f" https://ann:{'hunter2' * 9}@shop/")
    assert "hunter2" not in message_of(error)
