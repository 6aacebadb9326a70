"""The hosts to which instrumented HTTP clients carry the current test."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from livecheck_celery.blocks import Mark
from livecheck_celery.context import fake_request, under_test
from livecheck_celery.propagation.gate import Gate
from livecheck_celery.propagation.headers import outgoing, parse
from tests.helpers.factories import make_gate, make_test
from tests.helpers.http_clients import CLIENTS, AsyncClient, Call, Client
from tests.helpers.http_server import KEY, REDIRECTS, Server, redirecting
from tests.helpers.signing import sign, verify

TEST = make_test("order-1")

Instrument = Callable[[str, Gate], Callable[[], None]]

with under_test(make_test("2", "shop.test_stock")), under_test(make_test("1", synthetic=True)):
    SIGNED_NESTED = sign(outgoing(), (KEY,))

pytestmark = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS.keys())


@pytest.fixture
def carries(client: Client | AsyncClient, instrument: Instrument) -> Client | AsyncClient:
    """A client that carries tests to 127.0.0.1, ::1 and shop.example."""
    instrument(client.library, make_gate(KEY, hosts=["127.0.0.1", "::1", "shop.example"]))
    return client


def test_listed_host_gets_the_signed_test(carries: Client, server: Server) -> None:
    carries.send(server.url())
    with under_test(TEST):
        carries.send(server.url())
    carries.send(server.url())
    assert server.tests() == [None, "order-1", None]


def mark_in(server: Server) -> Mark | None:
    """Return the mark in the first request."""
    return parse(verify(server.received[0].known_headers(), (KEY,)) or {}).mark


def test_synthetic_test_is_marked(carries: Client, server: Server) -> None:
    with under_test(make_test("order-1", synthetic=True)) as test:
        carries.send(server.url())
    assert mark_in(server) == test.mark


def test_mark_of_a_fake_request_is_sent_to_listed_hosts(carries: Client, server: Server) -> None:
    with fake_request("shop.test_order"):
        carries.send(server.url(), server.url("localhost"))
    mark = mark_in(server)
    assert mark is not None
    assert mark.case_name == "shop.test_order"
    assert server.received[1].known_headers() == {}


def test_no_headers_are_added_without_a_key(client: Client, instrument: Instrument, server: Server) -> None:
    instrument(client.library, make_gate(hosts=["127.0.0.1"]))
    with under_test(TEST):
        client.send(server.url())
    assert server.tests() == [None]


def test_callers_headers_are_kept_for_unlisted_hosts(carries: Client, server: Server) -> None:
    with under_test(TEST):
        carries.send(Call(server.url("localhost"), headers={"livecheck-test-id": "mine", "X": "1"}))
    assert server.received[0].known_headers() == {"LiveCheck-Test-Id": "mine"}


@pytest.mark.parametrize("name", ["LiveCheck-Test-Id", "livecheck-test-id", "LIVECHECK-TEST-ID"])
def test_callers_headers_are_replaced_for_listed_hosts(carries: Client, server: Server, name: str) -> None:
    headers = {name: "mine", "X": "1"}
    with under_test(TEST):
        carries.send(Call(server.url(), headers=headers))
    assert server.tests() == ["order-1"]
    assert ("X", "1") in server.received[0].headers
    assert headers == {name: "mine", "X": "1"}


def test_headers_of_another_message_are_replaced_as_a_whole(carries: Client, server: Server) -> None:
    """A proxy may pass on the headers that it received, with a mark or outer tests that the current test has not."""
    received = {name.lower(): value for name, value in SIGNED_NESTED.items()}
    with under_test(TEST):
        carries.send(Call(server.url(), headers=received))
    assert server.received[0].known_headers().keys() == sign(TEST.as_headers(), (KEY,)).keys()
    assert server.tests() == ["order-1"]


@pytest.mark.parametrize(("route", "expected"), REDIRECTS)
def test_each_redirect_hop_is_judged_by_its_host(
    carries: Client, server: Server, route: list[str], expected: list[str | None]
) -> None:
    with under_test(TEST):
        carries.send(redirecting(server, route))
    assert server.tests() == expected


@pytest.mark.parametrize(
    ("url", "carried"),
    [
        ("http://[::1]:8000/", True),
        ("http://SHOP.example/", True),
        ("http://shop.example:8443/", True),
        ("http://me:secret@shop.example/", True),
        ("http://shop.example.evil.example/", False),
        ("http://evilshop.example/", False),
        ("http://evil.example/shop.example", False),
        ("http://evil.example/?shop.example", False),
        ("http://evil.example/#@shop.example/", False),
        ("http://shop.example@evil.example/", False),
        ("http://sub.shop.example/", False),
        ("http://shop.example./", False),
    ],
)
def test_proxied_request_is_judged_by_its_target(carries: Client, server: Server, url: str, carried: bool) -> None:
    with under_test(TEST):
        carries.send(url, proxy=server.url("localhost"))
    assert server.received[0].target.startswith("http://")
    assert server.tests() == ["order-1" if carried else None]


def test_listed_proxy_gets_nothing_for_an_unlisted_target(carries: Client, server: Server) -> None:
    with under_test(TEST):
        carries.send("http://evil.example/", proxy=server.url("127.0.0.1"))
    assert server.tests() == [None]


def test_each_redirect_hop_through_a_proxy_is_judged_by_its_target(carries: Client, server: Server) -> None:
    last = "http://shop.example/2"
    with under_test(TEST):
        carries.send(f"http://shop.example/?to=http://evil.example/?to={last}", proxy=server.url("localhost"))
    assert server.tests() == ["order-1", None, "order-1"]


@pytest.mark.parametrize("target", ["shop.example", "evil.example"])
def test_connect_request_to_a_proxy_carries_nothing(carries: Client, server: Server, target: str) -> None:
    with under_test(TEST), suppress(Exception):
        carries.send(f"https://{target}/", proxy=server.url("127.0.0.1"))
    assert [(received.method, received.target) for received in server.received] == [("CONNECT", f"{target}:443")]
    assert server.tests() == [None]
