"""OpenTelemetry's propagators send LiveCheck's entry in the W3C baggage, to the hosts that may have it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import propagate
from opentelemetry.baggage import get_all, set_baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind
from urllib3 import HTTPConnectionPool

from livecheck_celery.context import current_test, fake_request, under_test
from livecheck_celery.models import HEADER_ID, MAX_ID, TestExecution
from livecheck_celery.propagation import baggage
from livecheck_celery.propagation.clients import urllib3
from livecheck_celery.propagation.headers import Carried
from livecheck_celery.propagation.messages import inject
from livecheck_celery.propagation.otel import instrument
from tests.helpers.baggage import ENTRY, EXPIRED, PACKED, SIGNED, TEST, injected
from tests.helpers.factories import make_gate, make_test
from tests.helpers.signing import sign
from tests.helpers.tracing import recording

pytestmark = pytest.mark.usefixtures("same_signature")

OUTER = make_test("outer", "shop.test_stock")


@pytest.fixture(autouse=True)
def otel() -> Iterator[None]:
    with recording():
        yield


@pytest.mark.parametrize(
    "attributes",
    [
        {"url_full": "https://SHOP:8443/orders"},
        {"http_url": "http://shop/"},
        {"server_address": "shop"},
        {"net_peer_name": "shop"},
        {"url_full": "http://shop/", "server_address": "proxy.example"},
    ],
)
def test_entry_is_sent_to_listed_hosts(attributes: dict[str, str]) -> None:
    instrument(make_gate("key", hosts=["shop"]))
    with under_test(TEST):
        assert injected(**attributes)["baggage"] == ENTRY


@pytest.mark.promise("OpenTelemetry's baggage carries a test to the hosts in `http_hosts` only.", theme="propagation")
@pytest.mark.parametrize("received", [False, True])
@pytest.mark.parametrize(
    "attributes",
    [
        {"url_full": "https://pay.example/shop"},
        {"url_full": "https://shop@pay.example/", "server_address": "shop"},
        {"http_url": "https://shop.pay.example/"},
        {"server_address": "pay.example"},
        {"url_full": "http://[shop/"},
        {"url_path": "/"},
    ],
)
def test_third_party_gets_neither_the_current_nor_a_received_entry(attributes: dict[str, str], received: bool) -> None:
    instrument(make_gate("key", hosts=["shop"]))
    came_in = {"baggage": f"user=1,{ENTRY},{baggage.OUTER_ENTRY}=x" if received else "user=1"}
    with under_test(TEST):
        assert injected(propagate.extract(came_in, Context()), **attributes)["baggage"] == "user=1"


@pytest.mark.parametrize(
    "copied",
    [f"user=1,{ENTRY}; p=1 ,tenant=2", ENTRY, f"{ENTRY},{baggage.OUTER_ENTRY}=x", "user=1"],
    ids=["between others", "alone", "with outer tests", "none"],
)
def test_entries_that_a_client_has_copied_are_removed(copied: str) -> None:
    instrument(make_gate("key", hosts=["shop"]))
    others = {"baggage": baggage.others(copied)}
    assert others["baggage"] in ("user=1,tenant=2", "user=1", "")
    headers = {"baggage": copied}
    propagate.inject(headers, Context())
    assert headers == (others if others["baggage"] else {})


@pytest.mark.parametrize("kind", [SpanKind.SERVER, SpanKind.INTERNAL, SpanKind.PRODUCER])
def test_host_in_another_span_than_a_clients_is_not_the_receiver(kind: SpanKind) -> None:
    """A server's span has the URL of the server."""
    instrument(make_gate("key", hosts=["shop"]))
    with under_test(TEST):
        assert "baggage" not in injected(kind=kind, url_full="http://shop/")


def test_entry_is_not_sent_without_a_span() -> None:
    instrument(make_gate("key", hosts=["shop"]))
    headers: dict[str, str] = {}
    with under_test(TEST):
        propagate.inject(headers)
    assert headers == {}


@settings(max_examples=100, deadline=None)
@given(
    st.builds(make_test, st.text(max_size=100), st.text(max_size=50), synthetic=st.booleans()),
    st.lists(st.sampled_from(["otel", "plus", "percent"]), max_size=3),
)
def test_test_passes_through_services_with_only_opentelemetry(test: TestExecution, between: list[str]) -> None:
    undo = instrument(make_gate("key", hosts=["shop"]))
    with under_test(OUTER), under_test(test):
        headers = injected(set_baggage("user", "ü, 1; x=y"))
    undo()
    for kind in between:
        headers["baggage"] = forwarded(headers["baggage"], kind)
    assert make_gate("key").accept(headers.items()).tests == (test, replace(OUTER, mark=test.mark))
    assert get_all(W3CBaggagePropagator().extract(headers, Context()))["user"] == "ü, 1; x=y"


def forwarded(header: str, kind: str) -> str:
    """``header`` as a service forwards it that encodes in another way."""
    entries = get_all(W3CBaggagePropagator().extract({"baggage": header}, Context()))
    if kind == "otel":
        headers: dict[str, str] = {}
        context = Context()
        for name, value in entries.items():
            context = set_baggage(name, value, context)
        W3CBaggagePropagator().inject(headers, context)
        return headers["baggage"]
    encode = quote_plus if kind == "plus" else quote
    pairs = {name: encode(str(value), safe="") for name, value in entries.items()}
    pairs["livecheck-test"] += ";p=1"  # which OpenTelemetry for Python takes for a part of the value
    return " , ".join(f"{name}={value}" for name, value in pairs.items())


def test_entry_contains_only_url_safe_characters() -> None:
    test = make_test("ü/=,; %+", "shop.<locals>.prüfung", synthetic=True)
    assert re.fullmatch(r"[\w-]+", baggage.pack(sign(test.as_headers(), ("key",))), re.ASCII)


def test_mark_of_a_fake_request_is_propagated() -> None:
    instrument(make_gate("key", hosts=["shop"]))
    with fake_request("shop.test_order") as block:
        headers = injected()
    assert make_gate("key").accept(headers.items()) == Carried((), block.mark)


def test_baggage_is_unchanged_outside_a_test() -> None:
    instrument(make_gate("key", hosts=["shop"]))
    assert "baggage" not in injected()
    assert injected(set_baggage("user", "1"))["baggage"] == "user=1"


def test_nothing_is_sent_without_a_key() -> None:
    instrument(make_gate())
    with under_test(TEST):
        assert "baggage" not in injected()


def test_current_test_replaces_the_received_entry() -> None:
    instrument(make_gate("key", hosts=["shop"]))
    came_in = propagate.extract({"baggage": ENTRY}, Context())
    with under_test(make_test("other")):
        headers = injected(came_in)
    assert headers["baggage"].count("livecheck-test") == 1
    carried = make_gate("key").accept(headers.items())
    assert carried.test is not None
    assert carried.test.id == "other"


def test_received_entry_is_forwarded_outside_a_test() -> None:
    instrument(make_gate("key", hosts=["shop"]))
    assert injected(propagate.extract({"baggage": ENTRY}, Context()))["baggage"] == ENTRY


@pytest.mark.parametrize(
    ("others", "fits"),
    [
        ({"x": "ü" * 650, "y": "2" * (8192 - 3900 - len(ENTRY) - len("x=,y=,"))}, True),
        ({"x": "ü" * 650, "y": "2" * (8193 - 3900 - len(ENTRY) - len("x=,y=,"))}, False),
        ({str(number): "" for number in range(179)}, True),
        ({str(number): "" for number in range(180)}, False),
    ],
)
def test_entry_is_dropped_if_baggage_would_exceed_the_w3c_limits(
    others: dict[str, str], fits: bool, caplog: pytest.LogCaptureFixture
) -> None:
    instrument(make_gate("key", hosts=["shop"]))
    context = propagate.extract({"baggage": f"livecheck-test={baggage.pack(EXPIRED)}"}, Context())
    for name, value in others.items():
        context = set_baggage(name, value, context)
    with under_test(TEST):
        header = injected(context)["baggage"]
    sent = dict(get_all(W3CBaggagePropagator().extract({"baggage": header}, Context())))
    assert sent.pop("livecheck-test", None) == (PACKED if fits else None)
    assert sent == others
    assert not caplog.records


def test_test_too_long_for_one_entry_is_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    instrument(make_gate("key", hosts=["shop"]))
    with under_test(make_test("\N{GRINNING FACE}" * 300)):
        assert "baggage" not in injected()
    with under_test(make_test("x" * MAX_ID)):
        assert make_gate("key").accept(injected().items()).test == current_test()
    assert not caplog.records


def test_injected_headers_leave_the_baggage_header_unchanged() -> None:
    gate = make_gate("key", hosts=["shop"])
    headers: dict[str, str] = {"Baggage": "user=1", HEADER_ID.lower(): "stale"}
    pairs = [("baggage", b"user=1"), (HEADER_ID.lower(), b"stale")]
    with under_test(TEST):
        inject(gate, headers)
        inject(gate, pairs)
        of_gate = gate.headers_for("shop")
        of_urllib3 = urllib3._merged(gate, HTTPConnectionPool("shop"), {"url": "/", "headers": {"Baggage": "user=1"}})
    assert headers == {"Baggage": "user=1", **SIGNED}
    assert of_urllib3 == {"Baggage": "user=1", **of_gate}
    assert pairs == [("baggage", b"user=1"), *((name, value.encode()) for name, value in SIGNED.items())]
