"""What is let in over HTTP, and what is sent out."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livecheck_celery.context import under_test
from livecheck_celery.models import HEADER_EXPIRES, HEADER_ID, HEADER_SIGNATURE
from livecheck_celery.propagation import headers as carrier
from livecheck_celery.propagation.gate import LOOKED_AT
from tests.helpers.factories import make_gate, make_test

TEST = make_test("order-1", synthetic=True)
SIGNED = carrier.sign(TEST.as_headers(), ("key",))
EXPIRED = carrier.sign(TEST.as_headers() | {HEADER_EXPIRES: "2020-01-01T00:00:00+00:00"}, ("key",))


def without(headers: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key != name}


IGNORED: dict[str, list[tuple[str, Any]]] = {
    "unsigned": [*without(SIGNED, HEADER_SIGNATURE).items()],
    "forged": [*(SIGNED | {HEADER_ID: "order-2"}).items()],
    "expired": [*EXPIRED.items()],
    "oversized": [*(SIGNED | {HEADER_ID: "x" * (carrier.MAX_HEADER + 1)}).items()],
    "duplicated": [*SIGNED.items(), (HEADER_ID.lower(), "order-1")],
    "malformed": [*(SIGNED | {HEADER_ID: b"order-1"}).items()],
}


@pytest.mark.parametrize("spell", [str, str.lower, str.upper])
def test_a_signed_test_is_let_in(spell: Any) -> None:
    ignored: list[str] = []
    gate = make_gate("key", ignored=ignored)
    assert gate.accept([("Host", "shop"), *((spell(name), value) for name, value in SIGNED.items())]).test == TEST
    assert gate.accept([("Host", "shop")]) == carrier.NOTHING
    assert ignored == []


@pytest.mark.promise(
    "Headers that are unsigned, forged, expired or malformed are ignored and counted, without a log line.",
    theme="propagation",
)
@pytest.mark.parametrize(("reason", "headers"), IGNORED.items(), ids=IGNORED.keys())
def test_other_headers_are_ignored_and_counted(reason: str, headers: list[tuple[str, Any]]) -> None:
    ignored: list[str] = []
    assert make_gate("key", ignored=ignored).accept(headers) == carrier.NOTHING
    assert ignored == [reason]


def test_without_a_key_nothing_goes_in_or_out() -> None:
    ignored: list[str] = []
    gate = make_gate(hosts=["shop"], ignored=ignored)
    assert gate.accept(SIGNED.items()) == carrier.NOTHING
    assert ignored == ["no secret_key"]
    with under_test(TEST):
        assert gate.headers_for("shop") == {} == gate.headers()


@pytest.mark.promise("The secret key can be rotated without losing a test.", theme="propagation")
def test_keys_are_exchanged_one_after_the_other() -> None:
    old, both, new = make_gate("old", hosts=["shop"]), make_gate("new", "old", hosts=["shop"]), make_gate("new")
    with under_test(TEST):
        of_old, of_both = old.headers_for("shop"), both.headers_for("shop")
    assert both.accept(of_old.items()).test == new.accept(of_both.items()).test == TEST
    assert new.accept(of_old.items()) == carrier.NOTHING


@pytest.mark.parametrize("host", ["evil.example", "shop.evil.example", "evilshop", None, ""])
def test_only_listed_hosts_get_the_test(host: str | None) -> None:
    gate = make_gate("key", hosts=["Shop:8000", "[::1]:80"])
    with under_test(TEST):
        assert gate.headers_for(host) == {}
        assert gate.headers_for("SHOP") == gate.headers_for("::1") == SIGNED


class Mute(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(("error", "said"), [(KeyError("side"), "KeyError: 'side'"), (Mute(), "Mute")])
def test_an_error_is_told_even_if_it_cannot_say_what_it_is(error: Exception, said: str) -> None:
    happened: list[dict[str, Any]] = []
    make_gate(happened=happened).answered("GET", "/", 0, [TEST], error)
    assert happened == [{"kind": "request", "name": "GET /", "tests": [TEST], "error": f"GET / raised {said}"}]


names = st.one_of(st.sampled_from([*LOOKED_AT, *LOOKED_AT.values()]), st.text())
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


@pytest.mark.promise("No HTTP header, whatever its content, makes a request fail.", theme="propagation")
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(names, values), max_size=4), st.sampled_from([[], [*SIGNED.items()], [*EXPIRED.items()]]))
def test_ten_thousand_sets_of_headers_are_no_test_and_raise_nothing(
    some: list[tuple[str, Any]], more: list[tuple[str, Any]]
) -> None:
    assert gate_of_the_fuzz.accept(some + more) == carrier.NOTHING
