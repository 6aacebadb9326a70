"""The gate: which headers are accepted, and which are sent."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livecheck_celery.context import under_test
from livecheck_celery.models import HEADER_AUDIENCE, HEADER_EXPIRES, HEADER_ID, HEADER_SIGNATURE
from livecheck_celery.propagation.gate import KNOWN_HEADERS, _Ignored
from livecheck_celery.propagation.headers import MAX_HEADER, NOTHING
from tests.helpers.factories import BrokenStr, make_gate, make_test
from tests.helpers.signing import sign

pytestmark = pytest.mark.usefixtures("same_signature")

TEST = make_test("order-1")
SIGNED = sign(TEST.as_headers(), ("key",))
EXPIRED = sign(TEST.as_headers() | {HEADER_EXPIRES: "2020-01-01T00:00:00+00:00"}, ("key",))


def without(headers: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key != name}


IGNORED: dict[str, list[tuple[str, Any]]] = {
    "unsigned": [*without(SIGNED, HEADER_SIGNATURE).items()],
    "forged": [*(SIGNED | {HEADER_ID: "order-2"}).items()],
    "expired": [*EXPIRED.items()],
    "oversized": [*(SIGNED | {HEADER_ID: "x" * (MAX_HEADER + 1)}).items()],
    "duplicated": [*SIGNED.items(), (HEADER_ID.lower(), "order-1")],
    "malformed": [*(SIGNED | {HEADER_ID: b"order-1"}).items()],
}


@pytest.mark.parametrize("spell", [str, str.lower, str.upper])
def test_signed_test_is_accepted(spell: Any) -> None:
    ignored: list[str] = []
    gate = make_gate("key", ignored=ignored)
    assert gate.accept([("Host", "shop"), *((spell(name), value) for name, value in SIGNED.items())]).test == TEST
    assert gate.accept([("Host", "shop")]) == NOTHING
    assert ignored == []


@pytest.mark.parametrize(("reason", "headers"), IGNORED.items(), ids=IGNORED.keys())
def test_invalid_headers_are_ignored_and_counted_by_reason(reason: str, headers: list[tuple[str, Any]]) -> None:
    ignored: list[str] = []
    assert make_gate("key", ignored=ignored).accept(headers) == NOTHING
    assert ignored == [reason]


def test_nothing_is_accepted_or_sent_without_a_key() -> None:
    ignored: list[str] = []
    gate = make_gate(hosts=["shop"], ignored=ignored)
    assert gate.accept(SIGNED.items()) == NOTHING
    assert ignored == ["no secret_key"]
    with under_test(TEST):
        assert gate.headers_for("shop") == {} == gate.headers()


def test_keys_can_be_rotated() -> None:
    old, both, new = make_gate("old", hosts=["shop"]), make_gate("new", "old", hosts=["shop"]), make_gate("new")
    with under_test(TEST):
        of_old, of_both = old.headers_for("shop"), both.headers_for("shop")
    assert both.accept(of_old.items()).test == new.accept(of_both.items()).test == TEST
    assert new.accept(of_old.items()) == NOTHING


@pytest.mark.parametrize("host", ["evil.example", "shop.evil.example", "evilshop", None, ""])
def test_headers_are_built_only_for_listed_hosts(host: str | None) -> None:
    gate = make_gate("key", hosts=["Shop:8000", "[::1]:80"])
    with under_test(TEST):
        assert gate.headers_for(host) == {}
        assert gate.headers_for("::1") == SIGNED
        assert gate.headers_for("SHOP") == sign({**TEST.as_headers(), HEADER_AUDIENCE: "shop"}, ("key",))


@pytest.mark.parametrize(("error", "description"), [(KeyError("side"), "KeyError: 'side'"), (BrokenStr(), "BrokenStr")])
def test_exception_with_broken_str_is_reported_by_its_type(error: Exception, description: str) -> None:
    finished: list[dict[str, Any]] = []
    make_gate(finished=finished).request_finished("GET", "/", 0, [TEST], error)
    assert finished == [{"kind": "request", "name": "GET /", "tests": [TEST], "error": f"GET / raised {description}"}]


names = st.one_of(st.sampled_from([*KNOWN_HEADERS, *KNOWN_HEADERS.values()]), st.text())
values = st.one_of(
    st.text(),
    st.text(alphabet=st.characters(codec="latin-1")),
    st.characters(categories=["Cs"]),
    st.binary(),
    st.none(),
    st.datetimes().map(lambda moment: f"{moment.isoformat()}+00:00"),
    st.sampled_from(["1", "%", "%ff%00", "x" * 5000, *SIGNED.values(), *EXPIRED.values()]),
)
gate_of_the_fuzz = make_gate("another key", "and one more")


@settings(max_examples=1_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(names, values), max_size=4), st.sampled_from([[], [*SIGNED.items()], [*EXPIRED.items()]]))
def test_random_headers_are_never_accepted_and_never_raise(
    some: list[tuple[str, Any]], more: list[tuple[str, Any]]
) -> None:
    with suppress(_Ignored):  # `accept` itself would log an error, and not raise it
        assert gate_of_the_fuzz._accept(some + more, has_audience=True) == NOTHING


def test_empty_signature_is_none_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    ignored: list[str] = []
    gate = make_gate("key", ignored=ignored)
    assert gate.accept([*(SIGNED | {HEADER_SIGNATURE: ""}).items()]) is NOTHING
    assert ignored == ["unsigned"]
    assert not caplog.records
