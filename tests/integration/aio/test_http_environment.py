"""Credentials, proxies, cookies and certificates of the requests of the asyncio face."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from livecheck_celery.errors import ServiceDown
from tests.helpers.aio_http import fetch
from tests.helpers.http_tables import AGAINST_TLS, BEARER, CREDENTIALS, SECRETS, basic
from tests.helpers.scripted_http import Handler, ok, redirect, running
from tests.helpers.secure_http import AUTHORITY, running_securely


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "netrc"
    path.write_text("machine 127.0.0.1 login robot password netrc\n")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))


@pytest.mark.parametrize(("arguments", "sent"), CREDENTIALS)
def test_credentials_are_those_of_the_request_and_never_of_netrc(
    netrc: None, arguments: dict[str, Any], sent: str | None
) -> None:
    with running(redirect("/again"), ok()) as server:
        fetch("GET", server.url, **arguments)
        assert [each["Authorization"] for each in server.headers] == [sent, sent]


def test_credentials_of_the_url_are_sent_unless_a_header_has_others(netrc: None) -> None:
    with running(ok()) as server:
        fetch("GET", server.url.replace("//", "//me:secret@"))
        fetch("GET", server.url.replace("//", "//me:secret@"), headers=BEARER)
        assert [each["Authorization"] for each in server.headers] == [basic("me", "secret"), "Bearer x"]


@pytest.mark.parametrize("arguments", [{"headers": BEARER}, {"auth": ("me", "secret")}])
def test_credentials_are_not_sent_to_the_other_host_of_a_redirect(arguments: dict[str, Any]) -> None:
    with running(ok()) as target, running(redirect(target.url.replace("127.0.0.1", "localhost"))) as server:
        fetch("GET", server.url, **arguments)
        assert server.headers[0]["Authorization"]
        assert target.headers[0]["Authorization"] is None


def test_secret_headers_are_not_sent_to_the_other_host_of_a_redirect() -> None:
    headers = {**SECRETS, "Accept-Language": "da"}
    with running(ok()) as target, running(redirect(target.url.replace("127.0.0.1", "localhost"))) as server:
        fetch("GET", server.url, headers=headers)
        assert server.headers[0]["X-Api-Key"] == "a"
        assert {name: target.headers[0][name] for name in headers} == {
            **dict.fromkeys(headers),
            "Accept-Language": "da",
        }


def test_secret_headers_are_sent_to_another_path_of_the_host() -> None:
    with running(redirect("/again"), ok()) as server:
        fetch("GET", server.url, headers={"X-Api-Key": "a"})
        assert [each["X-Api-Key"] for each in server.headers] == ["a", "a"]


def test_requests_share_no_cookies() -> None:
    with running(lambda handler: handler.reply(200, Set_Cookie="session=1"), ok()) as server:
        for _ in range(2):
            fetch("GET", server.url)
        assert [each["Cookie"] for each in server.headers] == [None, None]


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/")


def proxy(handler: Handler) -> None:
    handler.reply(200, f"proxied {handler.path}".encode())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_proxy_of_the_environment_is_not_used_for_loopback(proxies: None, host: str) -> None:
    with running(redirect("/again"), ok()) as server:
        assert fetch("GET", server.url.replace("127.0.0.1", host)) == b"fine"


@pytest.mark.parametrize("scheme", ["http://", ""])
def test_proxy_of_the_environment_is_used_for_other_hosts_except_those_of_no_proxy(
    proxies: None, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    with running(proxy) as server:
        monkeypatch.setenv("HTTP_PROXY", server.url.replace("http://", scheme))
        monkeypatch.setenv("http_proxy", server.url.replace("http://", scheme))
        url = "http://shop.example/"
        assert fetch("GET", url) == b"proxied http://shop.example/"
        monkeypatch.setenv("NO_PROXY", "shop.example")
        monkeypatch.setattr("asyncio.base_events.BaseEventLoop.getaddrinfo", refuse)
        with pytest.raises(ServiceDown, match=r"no proxy"):
            fetch("GET", url)


async def refuse(*_: object, **__: object) -> Any:
    raise OSError("no proxy")


def test_redirect_to_loopback_leaves_the_proxy(proxies: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(ok(b"direct")) as target, running(redirect(target.url)) as server:
        monkeypatch.setenv("HTTP_PROXY", server.url)
        monkeypatch.setenv("http_proxy", server.url)
        assert fetch("GET", "http://shop.example/") == b"direct"


@pytest.fixture
def secure_url() -> Iterator[str]:
    with running_securely() as url:
        yield url


@pytest.mark.usefixtures("proxies")
@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_certificates_of_the_environment_are_trusted(
    secure_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    bundle = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(bundle))
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)  # the machine's, which precedes
    monkeypatch.setenv(variable, str(bundle))
    assert fetch("GET", secure_url) == b""
    monkeypatch.delenv(variable)
    with pytest.raises(ServiceDown, match="certificate verify failed"):
        fetch("GET", secure_url)


@pytest.mark.parametrize(("variable", "value"), AGAINST_TLS)
def test_no_variable_of_the_environment_disables_the_verification_of_tls(
    secure_url: str, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, value)
    with pytest.raises((ServiceDown, OSError), match=r"certificate verify failed|invalid path"):
        fetch("GET", secure_url)
