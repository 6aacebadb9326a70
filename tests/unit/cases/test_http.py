"""HTTP requests of a case: results, retries and errors, against servers on this machine."""

import gzip
from dataclasses import replace

import pytest
import requests

from livecheck_celery.cases.http import fetch
from tests.helpers.http_tables import BEGAN, BROKEN, LASTING_CLIENT_ERRORS, TEMPORARY_CLIENT_ERRORS
from tests.helpers.scripted_http import (
    QUICK,
    Answer,
    failure,
    hang_up,
    ok,
    redirect,
    running,
    status,
)


def test_body_is_returned_as_bytes(session: requests.Session) -> None:
    with running(ok(b"\xff\x00body")) as server:
        assert fetch("GET", server.url, settings=QUICK, session=session) == b"\xff\x00body"


def test_compressed_body_is_returned_decoded(session: requests.Session) -> None:
    compressed = gzip.compress(b"hello" * 100)
    with running(lambda handler: handler.reply(200, compressed, Content_Encoding="gzip")) as server:
        assert fetch("GET", server.url, settings=QUICK, session=session) == b"hello" * 100


def test_arguments_are_passed_to_requests(session: requests.Session) -> None:
    with running(ok()) as server:
        fetch("get", server.url + "search", settings=QUICK, session=session, params={"q": "1"})
        assert server.hits == ["GET /search?q=1"]


def test_request_works_without_time_limits(session: requests.Session) -> None:
    with running(ok()) as server:
        unlimited = replace(QUICK, timeout_total=None)
        assert fetch("GET", server.url, settings=unlimited, session=session) == b"fine"


def test_server_error_is_retried(session: requests.Session) -> None:
    with running(status(500), status(503), ok()) as server:
        assert fetch("GET", server.url, settings=QUICK, session=session) == b"fine"
        assert len(server.hits) == 3


def test_lasting_server_error_is_reported_after_all_retries(session: requests.Session) -> None:
    with running(status(500)) as server:
        message = failure("GET", server.url, session)
        assert len(server.hits) == 3
        assert message == f"GET {server.url}: 500 Internal Server Error (3 attempts)"


def test_zero_retries_mean_one_attempt(session: requests.Session) -> None:
    with running(status(500)) as server:
        assert failure("GET", server.url, session, replace(QUICK, error_retries=0)).endswith("(1 attempt)")
        assert len(server.hits) == 1


@pytest.mark.parametrize("code", LASTING_CLIENT_ERRORS)
def test_client_error_is_not_retried(session: requests.Session, code: int) -> None:
    with running(status(code)) as server:
        assert str(code) in failure("GET", server.url, session)
        assert len(server.hits) == 1


@pytest.mark.parametrize("code", TEMPORARY_CLIENT_ERRORS)
def test_temporary_client_error_is_retried(session: requests.Session, code: int) -> None:
    with running(status(code), ok()) as server:
        assert fetch("GET", server.url, settings=QUICK, session=session) == b"fine"
        assert len(server.hits) == 2


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("answer", BEGAN)
def test_post_is_not_retried_once_a_response_began(session: requests.Session, method: str, answer: Answer) -> None:
    with running(answer) as server:
        failure(method, server.url, session)
        assert len(server.hits) == 1


def test_post_is_not_retried_when_its_redirect_target_refuses(session: requests.Session, dead_url: str) -> None:
    with running(redirect(dead_url)) as server:
        assert "refused" in failure("POST", server.url, session, data=b"order")
        assert len(server.hits) == 1


def test_post_is_retried_when_no_response_began(session: requests.Session) -> None:
    with running(hang_up, ok()) as server:
        assert fetch("POST", server.url, settings=QUICK, session=session, json={"side": "sell"}) == b"fine"
        assert server.hits == ["POST /", "POST /"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("answer", BROKEN)
def test_broken_response_to_an_idempotent_method_is_retried(
    session: requests.Session, answer: Answer, method: str
) -> None:
    with running(answer, ok()) as server:
        assert fetch(method, server.url, settings=QUICK, session=session) == b"fine"
        assert len(server.hits) == 2


def test_refused_connection_is_reported_in_plain_words(session: requests.Session, dead_url: str) -> None:
    assert failure("POST", dead_url, session) == f"POST {dead_url}: Connection refused (3 attempts)"


def test_error_message_has_no_secrets_of_the_url(session: requests.Session, dead_url: str) -> None:
    url = dead_url.replace("//", "//me:hunter2@") + "path?token=hunter3"
    message = failure("GET", url, session)
    assert "hunter" not in message
    assert "/path" in message


def test_retry_delays_grow_by_the_factor_up_to_the_maximum(
    session: requests.Session, dead_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    delays: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", delays.append)
    failure(
        "GET",
        dead_url,
        session,
        replace(QUICK, error_retries=5, error_delay_min=0.5, error_delay_backoff=2.0, error_delay_max=3.0),
    )
    assert delays == [0.5, 1.0, 2.0, 3.0, 3.0]


@pytest.mark.parametrize(
    ("url", "kwargs", "error"),
    [
        ("shop/orders", {}, requests.exceptions.MissingSchema),
        ("ftp://shop/", {}, requests.exceptions.InvalidSchema),
        ("http://*/", {}, requests.exceptions.InvalidURL),
        ("http://shop/", {"json": float("nan")}, requests.exceptions.InvalidJSONError),
        ("http://shop/", {"headers": {"X": "a\nb"}}, requests.exceptions.InvalidHeader),
        ("http://shop/", {"jason": {}}, TypeError),
        ("http://shop/", {"timeout": 5}, TypeError),
    ],
)
def test_invalid_request_is_an_error_of_the_caller(
    session: requests.Session, url: str, kwargs: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        fetch("GET", url, settings=QUICK, session=session, **kwargs)


def test_redirect_to_an_invalid_url_is_an_error_of_the_service(session: requests.Session) -> None:
    with running(redirect("ftp://elsewhere/")) as server:
        assert "ftp://elsewhere/" in failure("GET", server.url, session)


def test_response_hooks_of_call_and_session_run(session: requests.Session) -> None:
    seen: list[str] = []
    session.hooks["response"].append(lambda response, **_: seen.append("session"))
    with running(ok()) as server:
        fetch("GET", server.url, settings=QUICK, session=session)
        hooks = {"response": lambda response, **_: seen.append("call")}
        fetch("GET", server.url, settings=QUICK, session=session, hooks=hooks)
    assert seen == ["session", "call"]


@pytest.mark.parametrize("host", ["\u0660" * 30_000, "a" * 300, "user:password@" + "a" * 300])
def test_long_host_is_refused_before_it_is_encoded(session: requests.Session, host: str) -> None:
    """Before idna 3.14, encoding takes minutes, in which no timeout ends it."""
    with pytest.raises(requests.exceptions.InvalidURL, match="a host has at most 253"):
        fetch("GET", f"http://{host}/", settings=QUICK, session=session)


def test_malformed_host_is_an_error_of_the_caller(session: requests.Session) -> None:
    with pytest.raises(requests.exceptions.InvalidURL, match="malformed"):
        fetch("GET", "http://[::1/", settings=QUICK, session=session)
