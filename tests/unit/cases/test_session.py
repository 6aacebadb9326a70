"""Credentials, proxies, cookies and certificates of the requests of a case."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from livecheck_celery import LiveCheck
from livecheck_celery.cases.http import fetch
from livecheck_celery.cases.session import Session, is_loopback
from livecheck_celery.errors import ServiceDown
from tests.helpers.http_tables import AGAINST_TLS, BEARER, CREDENTIALS, SECRETS, basic
from tests.helpers.scripted_http import QUICK, Handler, ok, redirect, running
from tests.helpers.secure_http import AUTHORITY, running_securely


@pytest.fixture
def session(livecheck: LiveCheck) -> Iterator[requests.Session]:
    with livecheck.session() as session:
        assert isinstance(session, Session)
        yield session


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "netrc"
    path.write_text("machine 127.0.0.1 login robot password netrc\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))


@pytest.mark.parametrize(
    ("arguments", "sent"),
    CREDENTIALS,
)
def test_credentials_are_those_of_the_request_and_never_of_netrc(
    session: requests.Session, netrc: None, arguments: dict[str, Any], sent: str | None
) -> None:
    with running(redirect("/again"), ok()) as server:
        fetch("GET", server.url, settings=QUICK, session=session, **arguments)
        assert [each["Authorization"] for each in server.headers] == [sent, sent]


def test_credentials_of_the_url_are_sent(session: requests.Session, netrc: None) -> None:
    with running(ok()) as server:
        fetch("GET", server.url.replace("//", "//me:secret@"), settings=QUICK, session=session)
        assert [each["Authorization"] for each in server.headers] == [basic("me", "secret")]


def test_header_of_the_session_is_sent(session: requests.Session, netrc: None) -> None:
    session.headers["Authorization"] = "Bearer x"
    with running(ok()) as server:
        fetch("GET", server.url, settings=QUICK, session=session)
        assert [each["Authorization"] for each in server.headers] == ["Bearer x"]


def test_authorization_is_not_sent_to_the_other_host_of_a_redirect(session: requests.Session) -> None:
    with running(ok()) as target, running(redirect(target.url.replace("127.0.0.1", "localhost"))) as server:
        fetch("GET", server.url, settings=QUICK, session=session, headers=BEARER)
        assert [each["Authorization"] for each in (*server.headers, *target.headers)] == ["Bearer x", None]


def test_netrc_is_not_used_for_the_target_of_a_redirect(session: requests.Session, netrc: None) -> None:
    with running(ok()) as target, running(redirect(target.url)) as server:
        fetch("GET", server.url, settings=QUICK, session=session)
        assert [each["Authorization"] for each in target.headers] == [None]


def test_secret_headers_are_not_sent_to_the_other_host_of_a_redirect(session: requests.Session) -> None:
    headers = {**SECRETS, "Accept-Language": "da"}
    with running(ok()) as target, running(redirect(target.url.replace("127.0.0.1", "localhost"))) as server:
        fetch("GET", server.url, settings=QUICK, session=session, headers=headers)
        assert server.headers[0]["X-Api-Key"] == "a"
        assert {name: target.headers[0][name] for name in headers} == {
            **dict.fromkeys(headers),
            "Accept-Language": "da",
        }


def test_secret_headers_are_sent_to_another_path_of_the_host(session: requests.Session) -> None:
    with running(redirect("/again"), ok()) as server:
        fetch("GET", server.url, settings=QUICK, session=session, headers={"X-Api-Key": "a"})
        assert [each["X-Api-Key"] for each in server.headers] == ["a", "a"]


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_proxy_of_the_environment_is_not_used_for_loopback(session: requests.Session, proxies: None, host: str) -> None:
    with running(redirect("/again"), ok()) as server:
        url = server.url.replace("127.0.0.1", host)
        assert fetch("GET", url, settings=QUICK, session=session) == b"fine"


def proxy(handler: Handler) -> None:
    handler.reply(200, f"proxied {handler.path}".encode())


def test_proxy_of_the_environment_is_used_for_other_hosts_except_those_of_no_proxy(
    session: requests.Session, proxies: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(proxy) as server:
        monkeypatch.setenv("HTTP_PROXY", server.url)
        monkeypatch.setenv("http_proxy", server.url)
        url = "http://shop.example/"
        assert fetch("GET", url, settings=QUICK, session=session) == b"proxied http://shop.example/"
        monkeypatch.setenv("NO_PROXY", "shop.example")
        monkeypatch.setattr("urllib3.util.connection.socket.getaddrinfo", refuse)
        with pytest.raises(Exception, match=r"no proxy"):
            fetch("GET", url, settings=QUICK, session=session)


def refuse(*_: object, **__: object) -> Any:
    raise OSError("no proxy")


def test_redirect_to_loopback_leaves_the_proxy(
    session: requests.Session, proxies: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(ok(b"direct")) as target, running(redirect(target.url)) as server:
        monkeypatch.setenv("HTTP_PROXY", server.url)
        monkeypatch.setenv("http_proxy", server.url)
        assert fetch("GET", "http://shop.example/", settings=QUICK, session=session) == b"direct"


def test_explicit_proxy_is_used_for_loopback(session: requests.Session) -> None:
    with running(proxy) as server:
        arguments = {"proxies": {"http": server.url}}
        assert fetch("GET", "http://localhost:1/", settings=QUICK, session=session, **arguments) == (
            b"proxied http://localhost:1/"
        )


def test_login_of_a_proxy_is_not_sent_through_it_after_a_redirect(session: requests.Session) -> None:
    """requests before 2.31 adds it to the headers for the target."""
    target = requests.Request("GET", "https://shop.example/").prepare()
    session.rebuild_proxies(target, {"https": "http://user:password@proxy.example/"})
    assert "Proxy-Authorization" not in target.headers


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:80/", True),
        ("http://LOCALHOST/", True),
        ("http://shop.localhost/", True),
        ("http://127.9.9.9/", True),
        ("http://[::1]:8000/", True),
        *((f"http://{host}:80/", True) for host in ("localhost.", "a.localhost.", "127.1", "127.0.0.1.", "0x7f.1")),
        *((f"http://{host}/", True) for host in ("2130706433", "[::ffff:127.0.0.1]", "0.0.0.0", "0", "[::]")),
        *((f"http://{host}/", False) for host in ("128.1", "[::ffff:10.0.0.1]", "1", "[fe80::1]", "é.example")),
        ("http://localhost.example/", False),
        ("http://10.0.0.1/", False),
        ("http:///", False),
    ],
)
def test_loopback_is_recognized(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected


def test_requests_share_no_cookies(livecheck: LiveCheck) -> None:
    answers = [lambda handler: handler.reply(200, Set_Cookie="session=1"), ok()]
    with running(*answers) as server:
        for _ in range(2):
            with livecheck.session() as session:  # as `Case.url_request` does
                fetch("GET", server.url, settings=QUICK, session=session)
        assert [each["Cookie"] for each in server.headers] == [None, None]


@pytest.fixture
def secure_url() -> Iterator[str]:
    with running_securely() as url:
        yield url


@pytest.mark.usefixtures("proxies")
@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_certificates_of_the_environment_are_trusted(
    session: requests.Session,
    secure_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    bundle = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(bundle))
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)  # the machine's, which precedes
    monkeypatch.setenv(variable, str(bundle))
    assert fetch("GET", secure_url, settings=QUICK, session=session) == b""


@pytest.mark.promise("No variable of the environment disables the verification of TLS.", theme="cases")
@pytest.mark.parametrize(
    ("variable", "value"),
    AGAINST_TLS,
)
def test_no_variable_of_the_environment_disables_the_verification_of_tls(
    session: requests.Session, secure_url: str, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, value)
    with pytest.raises((ServiceDown, OSError), match=r"certificate verify failed|invalid path"):
        fetch("GET", secure_url, settings=QUICK, session=session)
