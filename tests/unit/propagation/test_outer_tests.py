"""Nested tests of several cases cross a hop together: over Celery, HTTP and baggage."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livecheck_celery import blocks
from livecheck_celery.blocks import Work
from livecheck_celery.context import current_test, fake_request, under_test
from livecheck_celery.models import HEADER_OUTER, HEADER_SIGNATURE
from livecheck_celery.propagation import baggage
from livecheck_celery.propagation import celery as celery_propagation
from livecheck_celery.propagation.headers import HEADERS, MAX_HEADER, outgoing, parse
from livecheck_celery.propagation.outer_tests import MAX_OUTER, pack, unpack
from tests.helpers.factories import make_gate, make_test
from tests.helpers.signing import sign, verify

KEY = ("a secret",)
ORDER = make_test("1", "shop.test_order")
STOCK = make_test("2", "shop.test_stock")
PAYMENT = make_test("3", "shop.test_payment")


def nested() -> dict[str, str]:
    with under_test(PAYMENT), under_test(STOCK), under_test(ORDER):
        return outgoing()


def accepted(headers: dict[str, str], ignored: list[str] | None = None) -> list[Any]:
    return list(make_gate(*KEY, ignored=ignored).accept(headers.items()).tests)


def test_nested_tests_cross_a_hop_the_innermost_first() -> None:
    ignored: list[str] = []
    assert list(parse(nested()).tests) == accepted(sign(nested(), KEY), ignored) == [ORDER, STOCK, PAYMENT]
    assert ignored == []
    with Work(*parse(nested())):
        assert current_test() == ORDER
        assert blocks.tests_in_force() == [ORDER, STOCK, PAYMENT]
        assert list(parse(outgoing()).tests) == [ORDER, STOCK, PAYMENT], "the next hop"


def test_single_test_has_no_further_header() -> None:
    with under_test(ORDER), under_test(ORDER):
        assert outgoing() == ORDER.as_headers()


def test_all_tests_of_a_hop_have_its_mark() -> None:
    with fake_request("shop.test_order") as block:
        headers = sign(nested(), KEY)
    assert [test.mark for test in accepted(headers)] == [block.mark] * 3


def test_receiver_that_does_not_know_the_header_accepts_the_innermost_test() -> None:
    signed = sign(nested(), KEY)
    known = {name: value for name, value in signed.items() if name != HEADER_OUTER}
    assert known == sign(ORDER.as_headers(), KEY)
    assert accepted(known) == [ORDER]


@pytest.mark.parametrize(
    "outer",
    ["", "x", "x.y", pack([PAYMENT]), sign(nested(), ("other key",))[HEADER_OUTER]],
    ids=["empty", "one part", "two parts", "unsigned", "another key"],
)
def test_outer_tests_that_are_not_signed_are_ignored_and_counted(outer: str) -> None:
    ignored: list[str] = []
    assert accepted(sign(nested(), KEY) | {HEADER_OUTER: outer}, ignored) == [ORDER]
    assert ignored == ["forged"]


def test_outer_tests_cannot_be_moved_to_another_message() -> None:
    with under_test(PAYMENT):
        other = sign(outgoing(), KEY)
    assert accepted(other | {HEADER_OUTER: sign(nested(), KEY)[HEADER_OUTER]}) == [PAYMENT]


def test_outer_tests_alone_are_not_accepted() -> None:
    assert accepted({HEADER_OUTER: sign(nested(), KEY)[HEADER_OUTER]}) == []
    assert verify({HEADER_OUTER: "x", HEADER_SIGNATURE: "y"}, KEY) is None
    assert parse({HEADER_OUTER: pack([ORDER])}).tests == ()


def test_expired_tests_are_left_out() -> None:
    expired = make_test("4", expires=datetime.now(UTC) - timedelta(seconds=1))
    assert list(parse({**expired.as_headers(), HEADER_OUTER: pack([STOCK])}).tests) == [STOCK]
    assert list(parse({**ORDER.as_headers(), HEADER_OUTER: pack([expired, STOCK])}).tests) == [ORDER, STOCK]


def test_number_and_length_of_outer_tests_are_limited() -> None:
    many = [make_test(str(number), f"shop.test_{number}") for number in range(20)]
    assert unpack(pack(many)) == many[:MAX_OUTER]
    long = [make_test("\N{GRINNING FACE}" * 100, f"shop.test_{number}") for number in range(4)]
    assert unpack(pack(long)) == long[:2]
    with under_test(make_test("\N{GRINNING FACE}" * 512)), under_test(long[0]), under_test(ORDER):
        signed = sign(outgoing(), KEY)
        assert len(signed[HEADER_OUTER]) <= MAX_HEADER
        assert accepted(signed) == [ORDER, long[0]]


def test_test_that_has_no_headers_is_left_out() -> None:
    with under_test(make_test("\ud800")), under_test(STOCK), under_test(make_test("\udfff")), under_test(ORDER):
        assert list(parse(outgoing()).tests) == [ORDER, STOCK]


@settings(deadline=None)
@given(st.one_of(st.text(), st.binary(), st.none(), st.recursive(st.none() | st.text(), st.lists).map(repr)))
def test_random_values_are_no_tests(value: object) -> None:
    assert unpack(value) == []


@settings(deadline=None)
@given(st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.just([1, 2, 3, 4, 5])))
def test_random_rows_are_no_tests(rows: object) -> None:
    import json

    from itsdangerous.encoding import base64_encode

    assert unpack(base64_encode(json.dumps(rows)).decode()) == []


def test_celery_headers_of_an_earlier_message_are_replaced() -> None:
    headers: dict[str, Any] = {**nested(), "headers": nested()}
    with under_test(PAYMENT):
        celery_propagation._before_publish(sender="orders.store", headers=headers)
    assert headers == {**PAYMENT.as_headers(), "headers": {}}


def test_baggage_has_the_outer_tests_in_an_entry_of_their_own() -> None:
    signed = sign(nested(), KEY)
    entries = f"{baggage.ENTRY}={baggage.pack(signed)},other=1,{baggage.OUTER_ENTRY}={signed[HEADER_OUTER]};property"
    assert accepted({"baggage": entries}) == [ORDER, STOCK, PAYMENT]
    assert accepted({"baggage": entries.rpartition(",")[0]}) == [ORDER]
    assert accepted({"baggage": f"{entries},{baggage.OUTER_ENTRY}=x"}) == [ORDER]
    assert HEADERS[0] not in signed[HEADER_OUTER]
