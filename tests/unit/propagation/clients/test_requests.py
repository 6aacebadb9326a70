"""`carry()`: one requests session carries the current test to the listed hosts."""

from collections.abc import Iterator

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livecheck_celery.context import fake_request, under_test
from livecheck_celery.propagation.clients.requests import carry
from livecheck_celery.propagation.headers import parse
from tests.helpers.factories import make_gate, make_test
from tests.helpers.http_server import KEY, REDIRECTS, Server, redirecting, running
from tests.helpers.signing import verify

TEST = make_test("order-1")


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def test_listed_host_gets_the_signed_test(session: requests.Session, server: Server) -> None:
    assert carry(session, make_gate(KEY, hosts=["127.0.0.1"])) is session
    with under_test(TEST):
        session.get(server.url("127.0.0.1"))
    assert server.tests() == ["order-1"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=100))
def test_any_id_arrives_unchanged(test_id: str) -> None:
    with running() as server, requests.Session() as session:
        session.trust_env = False
        with under_test(make_test(test_id)):
            carry(session, make_gate(KEY, hosts=["127.0.0.1"])).get(server.url("127.0.0.1"))
        assert server.tests() == [test_id]


def test_mark_of_a_fake_request_is_sent(session: requests.Session, server: Server) -> None:
    carry(session, make_gate(KEY, hosts=["127.0.0.1"]))
    with fake_request("shop.tests.test_order"):
        session.get(server.url("127.0.0.1"))
    mark = parse(verify(server.received[0].known_headers(), (KEY,)) or {}).mark
    assert mark is not None
    assert mark.case_name == "shop.tests.test_order"


def test_no_headers_are_added_outside_a_test(session: requests.Session, server: Server) -> None:
    carry(session, make_gate(KEY, hosts=["127.0.0.1"])).get(server.url("127.0.0.1"))
    with under_test(TEST):
        session.get(server.url("127.0.0.1"))
    session.get(server.url("127.0.0.1"))
    assert server.tests() == [None, "order-1", None]


def test_no_headers_are_added_without_a_key(session: requests.Session, server: Server) -> None:
    with under_test(TEST):
        carry(session, make_gate(hosts=["127.0.0.1"])).get(server.url("127.0.0.1"))
    assert server.tests() == [None]


@pytest.mark.parametrize("host", ["LocalHost", "localhost:1", " localhost ", "localhost:8000"])
def test_hosts_are_compared_ignoring_case_and_port(session: requests.Session, server: Server, host: str) -> None:
    with under_test(TEST):
        carry(session, make_gate(KEY, hosts=[host])).get(server.url("LOCALHOST"))
    assert server.tests() == ["order-1"]


@pytest.mark.parametrize("hosts", [[], [""], ["local"], ["host"], ["localhost.example"], ["example"], ["*"], ["::1"]])
def test_unlisted_host_gets_nothing(session: requests.Session, server: Server, hosts: list[str]) -> None:
    with under_test(TEST):
        carry(session, make_gate(KEY, hosts=hosts)).get(server.url("localhost"))
        carry(session, make_gate(KEY, hosts=hosts)).get(server.url("localhost").replace("//", "//example:secret@"))
    assert server.tests() == [None, None]


class Recorder(requests.adapters.BaseAdapter):
    """Responds without a network, and records the requests."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[requests.PreparedRequest] = []
        self.closed = False

    def send(self, request: requests.PreparedRequest, *args: object, **kwargs: object) -> requests.Response:
        self.sent.append(request)
        response = requests.Response()
        response.status_code = 200
        response.request = request
        response.url = request.url or ""
        response.raw = None
        response._content = b""
        return response

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("url", "carried"),
    [
        ("http://[::1]:8000/", True),
        ("https://SHOP.example/", True),
        ("https://shop.example:8443/", True),
        ("https://me:secret@shop.example/", True),
        ("https://shop.example.evil.example/", False),
        ("https://evilshop.example/", False),
        ("https://evil.example/shop.example", False),
        ("https://evil.example/?shop.example", False),
        ("https://evil.example#@shop.example/", False),
        ("https://evil.example\\@shop.example/", False),
        ("https://shop.example@evil.example/", False),
        ("https://sub.shop.example/", False),
    ],
)
def test_hosts_must_match_exactly(session: requests.Session, url: str, carried: bool) -> None:
    recorder = Recorder()
    session.mount("http://", recorder)
    session.mount("https://", recorder)
    carry(session, make_gate(KEY, hosts=["shop.example", "::1"]))
    with under_test(TEST):
        session.get(url)
    assert ("LiveCheck-Test-Id" in recorder.sent[0].headers) == carried


def test_adapters_mounted_before_are_wrapped(session: requests.Session) -> None:
    special, usual = Recorder(), Recorder()
    session.mount("http://", usual)
    session.mount("http://shop.example/special", special)
    carry(session, make_gate(KEY, hosts=["shop.example"]))
    with under_test(TEST):
        session.get("http://shop.example/special/1")
        session.get("http://shop.example/1")
    assert [len(special.sent), len(usual.sent)] == [1, 1]
    session.close()
    assert special.closed
    assert usual.closed


@pytest.mark.parametrize(("route", "expected"), REDIRECTS)
def test_each_redirect_hop_is_judged_by_its_host(
    session: requests.Session, server: Server, route: list[str], expected: list[str | None]
) -> None:
    with under_test(TEST):
        carry(session, make_gate(KEY, hosts=["127.0.0.1"])).get(redirecting(server, route))
    assert server.tests() == expected


def test_callers_request_is_not_modified(session: requests.Session, server: Server) -> None:
    carry(session, make_gate(KEY, hosts=["127.0.0.1"]))
    request = session.prepare_request(requests.Request("GET", server.url("127.0.0.1")))
    with under_test(TEST):
        session.send(request)
    assert "LiveCheck-Test-Id" not in request.headers
    assert "LiveCheck-Test-Id" not in session.headers
    assert server.tests() == ["order-1"]
