"""LiveCheck's entry in the W3C baggage is accepted by the gate."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any
from urllib.parse import quote
from wsgiref.util import setup_testing_defaults

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from itsdangerous.encoding import base64_encode

from livecheck_celery.context import current_test
from livecheck_celery.models import HEADER_ID, HEADER_SIGNATURE
from livecheck_celery.propagation import baggage
from livecheck_celery.propagation.asgi import LiveCheckMiddleware as AsgiMiddleware
from livecheck_celery.propagation.headers import MAX_HEADER, NOTHING, Carried
from livecheck_celery.propagation.messages import extract
from livecheck_celery.propagation.wsgi import LiveCheckMiddleware
from tests.helpers.baggage import ENTRY, EXPIRED, PACKED, SIGNED, TEST
from tests.helpers.factories import make_gate, make_test
from tests.helpers.signing import sign


def accepted(*headers: Any, ignored: list[str] | None = None) -> Carried:
    return make_gate("key", ignored=ignored).accept([("Host", "shop"), *(("baggage", header) for header in headers)])


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
