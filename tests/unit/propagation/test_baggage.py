"""LiveCheck's entry in the W3C baggage: accepted by the gate, and sent by OpenTelemetry's propagators."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from itertools import permutations
from typing import Any
from urllib.parse import quote, quote_plus
from wsgiref.util import setup_testing_defaults

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from itsdangerous.encoding import base64_encode
from opentelemetry import propagate, trace
from opentelemetry.baggage import get_all, set_baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import SpanKind
from urllib3 import HTTPConnectionPool

from livecheck_celery.context import current_test, fake_request, under_test
from livecheck_celery.errors import ConfigurationError
from livecheck_celery.models import HEADER_EXPIRES, HEADER_ID, HEADER_SIGNATURE, MAX_ID, TestExecution
from livecheck_celery.propagation import baggage
from livecheck_celery.propagation.asgi import LiveCheckMiddleware as AsgiMiddleware
from livecheck_celery.propagation.clients import registry as clients
from livecheck_celery.propagation.clients import urllib3
from livecheck_celery.propagation.headers import MAX_HEADER, NOTHING, Carried
from livecheck_celery.propagation.messages import extract, inject
from livecheck_celery.propagation.otel import instrument
from livecheck_celery.propagation.wsgi import LiveCheckMiddleware
from tests.helpers.factories import make_gate, make_test
from tests.helpers.signing import sign
from tests.helpers.tracing import recording

TEST = make_test("order-1")
OUTER = make_test("outer", "shop.test_stock")
SIGNED = sign(TEST.as_headers(), ("key",))
PACKED = baggage.pack(SIGNED)
ENTRY = f"livecheck-test={PACKED}"
EXPIRED = sign(TEST.as_headers() | {HEADER_EXPIRES: "2020-01-01T00:00:00+00:00"}, ("key",))


def accepted(*headers: Any, ignored: list[str] | None = None) -> Carried:
    return make_gate("key", ignored=ignored).accept([("Host", "shop"), *(("baggage", header) for header in headers)])


# -- incoming


@pytest.mark.parametrize(
    "headers",
    [
        [ENTRY],
        [f"user=1,{ENTRY},tenant=2"],
        [f"user=1 ,\tlivecheck-test\t= {PACKED} ; ttl=1;x ,tenant=2"],
        ["user=1", ENTRY, "tenant=2"],
        [f"user=livecheck-test,{ENTRY}"],
        [f"livecheck-test={quote(PACKED).replace('-', '%2D').replace('_', '%5f')}"],
    ],
)
def test_baggage_entry_is_accepted_like_headers(headers: list[str]) -> None:
    ignored: list[str] = []
    assert accepted(*headers, ignored=ignored) == Carried((TEST,), None)
    assert ignored == []


def test_header_name_is_case_insensitive() -> None:
    assert make_gate("key").accept([("BAGGAGE", ENTRY)]).test == TEST


@pytest.mark.parametrize("header", ["", "user=1", "livecheck-testing=1", "a-livecheck-test=1", "livecheck-test", b"x"])
def test_baggage_without_our_entry_is_not_counted(header: Any) -> None:
    ignored: list[str] = []
    assert accepted(header, "x=1" * 5000, ignored=ignored) == NOTHING
    assert ignored == []


IGNORED = {
    "unsigned": baggage.pack(TEST.as_headers()),
    "forged": baggage.pack(SIGNED | {HEADER_ID: "order-2"}),
    "expired": baggage.pack(EXPIRED),
    "oversized": baggage.pack(SIGNED | {HEADER_ID: "x" * (MAX_HEADER + 1)}),
    "malformed": "x" + PACKED,
    "duplicated": f"{PACKED},{ENTRY}",
}


@pytest.mark.parametrize(("reason", "value"), IGNORED.items(), ids=IGNORED.keys())
def test_invalid_entry_is_ignored_and_counted_by_reason(reason: str, value: str) -> None:
    ignored: list[str] = []
    assert accepted(f"livecheck-test={value}", ignored=ignored) == NOTHING
    assert ignored == [reason]


def test_baggage_over_the_w3c_limit_is_ignored() -> None:
    filler = "x=" + "1" * (baggage.MAX_HEADER - len(ENTRY) - 3)
    ignored: list[str] = []
    assert accepted(f"{filler},{ENTRY}", ignored=ignored).test == TEST
    assert accepted(f"{filler}1,{ENTRY}", ignored=ignored) == NOTHING
    assert ignored == ["oversized"]


@pytest.mark.parametrize(
    "fields",
    [None, 1, {}, [], "text", [1] * 7, [None] * 6, [None] * 8, [["x"]] * 7, [{}] * 7],
    ids=json.dumps,
)
def test_entry_with_other_json_is_malformed(fields: Any) -> None:
    ignored: list[str] = []
    value = base64_encode(json.dumps(fields)).decode()
    assert accepted(f"livecheck-test={value}", ignored=ignored) == NOTHING
    assert ignored == ["malformed"]


def test_deeply_nested_entry_is_malformed() -> None:
    ignored: list[str] = []
    value = base64_encode("[" * 5_000).decode()
    assert accepted(f"livecheck-test={value}", ignored=ignored) == NOTHING
    assert ignored == ["malformed"]


@pytest.mark.parametrize("headers", [SIGNED, EXPIRED, {HEADER_SIGNATURE: "forged"}], ids=["good", "expired", "forged"])
def test_own_headers_take_precedence_over_baggage(headers: dict[str, str]) -> None:
    other = baggage.pack(sign(make_test("other").as_headers(), ("key",)))
    carried = make_gate("key").accept([("baggage", f"livecheck-test={other}"), *headers.items()])
    assert carried.test == (TEST if headers is SIGNED else None)


def test_no_entry_is_accepted_without_a_key() -> None:
    ignored: list[str] = []
    assert make_gate(ignored=ignored).accept([("baggage", ENTRY)]) == NOTHING
    assert ignored == ["no secret_key"]


def test_message_baggage_is_extracted() -> None:
    headers = [("user", b"\xff"), ("baggage", f"user=1,{ENTRY}".encode())]
    with extract(make_gate("key"), headers) as test:
        assert test == current_test() == TEST
    assert current_test() is None


def test_wsgi_request_is_served_under_the_test_in_its_baggage() -> None:
    seen = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        seen.append(current_test())
        return []

    environ: dict[str, Any] = {"wsgi.input": io.BytesIO(), "HTTP_BAGGAGE": f"user=1,{ENTRY}"}
    setup_testing_defaults(environ)
    LiveCheckMiddleware(app, make_gate("key"))(environ, lambda *_: lambda _: None)
    assert seen == [TEST]
    assert current_test() is None


def test_asgi_request_with_several_baggage_headers_is_served_under_its_test() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(current_test())

    headers = [(b"baggage", b"user=1"), (b"Baggage", ENTRY.encode()), (b"baggage", b"\xff=2")]
    asyncio.run(AsgiMiddleware(app, make_gate("key"))({"type": "http", "headers": headers}, None, None))
    assert seen == [TEST]


junk = st.one_of(
    st.text(),
    st.binary().map(lambda data: base64_encode(data).decode()),
    st.recursive(st.none() | st.text() | st.integers() | st.floats(), lambda inner: st.lists(inner, max_size=6)).map(
        lambda value: base64_encode(json.dumps(value)).decode()
    ),
    st.lists(
        st.none() | st.sampled_from([*SIGNED.values(), *EXPIRED.values()]) | st.text(), min_size=6, max_size=6
    ).map(lambda value: base64_encode(json.dumps(value)).decode()),
    st.sampled_from([PACKED, PACKED[:-1], PACKED + "=", baggage.pack(EXPIRED), "%", "%ff%00", "x" * 10_000]),
)
members = st.one_of(st.text(), junk.map("livecheck-test={}".format), junk.map(" livecheck-test\t= {};p=1".format))
gate_of_the_fuzz = make_gate("another key", "and one more")


@settings(max_examples=1_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(members, max_size=3).map(",".join) | st.none() | st.binary(), max_size=3))
def test_random_baggage_is_never_accepted_and_never_raises(headers: list[Any]) -> None:
    assert gate_of_the_fuzz.accept([("Baggage", header) for header in headers]) == NOTHING


# -- outgoing


@pytest.fixture(autouse=True)
def otel() -> Iterator[None]:
    with recording():
        yield


def injected(context: Context | None = None, kind: SpanKind = SpanKind.CLIENT, **attributes: str) -> dict[str, str]:
    """Return the headers that a client instrumented by OpenTelemetry adds to a request, by default to the host shop."""
    names = {name.replace("_", "."): value for name, value in (attributes or {"url_full": "http://shop/"}).items()}
    headers: dict[str, str] = {}
    with trace.get_tracer("shop").start_as_current_span("GET", context, kind, attributes=names) as span:
        propagate.inject(headers, trace.set_span_in_context(span, context))
    headers.pop("traceparent", None)
    return headers


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


@pytest.mark.parametrize("carrier", [[], {"baggage": 1}, {"baggage": b"livecheck-test=1"}, object()])
def test_carrier_of_another_kind_is_left_to_its_setter(carrier: Any) -> None:
    instrument(make_gate("key", hosts=["shop"]))
    before = copy(carrier)
    propagate.inject(carrier, Context())
    assert carrier == before or type(carrier) is object


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


def test_no_baggage_is_sent_without_a_baggage_propagator() -> None:
    propagate.set_global_textmap(CompositePropagator([]))
    instrument(make_gate("key", hosts=["shop"]))
    with under_test(TEST):
        assert injected() == {}


def test_wrapped_propagator_keeps_its_fields_and_extract() -> None:
    before = propagate.get_global_textmap()
    instrument(make_gate("key", hosts=["shop"]))
    assert propagate.get_global_textmap().fields == before.fields
    extracted = propagate.extract({"baggage": "user=1"}, Context())
    assert get_all(extracted) == {"user": "1"}


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


def test_otel_can_be_instrumented_by_name() -> None:
    undo = clients.instrument("otel", make_gate("key", hosts=["shop"]))
    with under_test(TEST):
        assert injected()["baggage"] == ENTRY
    undo()
    with under_test(TEST):
        assert "baggage" not in injected()


@pytest.mark.parametrize("missing", ["opentelemetry", "opentelemetry.sdk"])
def test_missing_extra_names_the_pip_command(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    def find_spec(name: str) -> None:
        if missing != name:
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr(clients, "find_spec", find_spec)
    with pytest.raises(ConfigurationError, match=r'otel is not installed; run: pip install "livecheck-celery\[otel\]"'):
        clients.instrument("otel", make_gate("key"))


def test_undo_restores_the_propagator() -> None:
    before = propagate.get_global_textmap()
    undo = instrument(make_gate("key", hosts=["shop"]))
    assert propagate.get_global_textmap() is not before
    undo()
    assert propagate.get_global_textmap() is before
    with under_test(TEST):
        assert "baggage" not in injected()
    undo()


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_undo_in_any_order_restores_the_propagator(order: tuple[int, ...]) -> None:
    before = propagate.get_global_textmap()
    undos = [instrument(make_gate("key", hosts=["shop"])) for _ in range(3)]
    for number in order:
        with under_test(TEST):
            assert injected()["baggage"] == ENTRY
        undos[number]()
    assert propagate.get_global_textmap() is before


def test_undo_below_another_propagator_disables_ours() -> None:
    undo = instrument(make_gate("key", hosts=["shop"]))
    others = CompositePropagator([propagate.get_global_textmap()])
    propagate.set_global_textmap(others)
    undo()
    assert propagate.get_global_textmap() is others
    with under_test(TEST):
        assert "baggage" not in injected()
