"""What crosses a hop, and what is believed on the other side."""

from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from livecheck_celery.context import current_test, fake_request, synthetic_case_var, under_test
from livecheck_celery.models import (
    HEADER_EXPIRES,
    HEADER_ID,
    HEADER_NAME,
    HEADER_SIGNATURE,
    HEADER_SYNTHETIC,
    HEADER_TIMESTAMP,
    TestExecution,
)
from livecheck_celery.propagation import headers as carrier
from tests.helpers.factories import make_test

KEY = ("a secret",)
any_machine = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
NOW = datetime.now(UTC)
LATER = (NOW + timedelta(minutes=1)).isoformat()
EARLIER = (NOW - timedelta(seconds=1)).isoformat()


moments = st.datetimes(timezones=st.just(UTC))
executions = st.builds(
    TestExecution,
    id=st.text(),
    case_name=st.text(),
    timestamp=moments,
    test_args=st.just([]),
    test_kwargs=st.just({}),
    expires=st.just(NOW + timedelta(days=1)),
    synthetic=st.booleans(),
)
names = st.sampled_from([*carrier.HEADERS, HEADER_SIGNATURE])
good = make_test(synthetic=True).as_headers()
junk_values = st.one_of(
    st.text(),
    st.text(alphabet=st.characters(codec="latin-1")),
    st.characters(categories=["Cs"]),
    st.binary(),
    st.none(),
    st.integers(),
    st.floats(),
    st.lists(st.text()),
    st.datetimes().map(datetime.isoformat),
    st.sampled_from(["1e400", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "%", "%ff%00", "x" * 10_000]),
)
junk = st.builds(
    lambda some, rest: rest | some,
    st.dictionaries(names, junk_values),
    st.sampled_from([{}, good, carrier.sign(good, KEY)]),
)


@any_machine
@given(executions)
def test_a_test_comes_out_of_its_headers_as_it_went_in(test: TestExecution) -> None:
    with under_test(test):
        headers = carrier.outgoing()
    assert current_test() is None
    with carrier.incoming(headers):
        assert current_test() == test
        assert carrier.outgoing().keys() == headers.keys()
    assert current_test() is None


@any_machine
@given(executions)
def test_headers_are_such_as_http_carries_unchanged(test: TestExecution) -> None:
    for name, value in carrier.sign(test.as_headers(), KEY).items():
        assert f"{name}: {value}".isascii()
        assert f"{name}: {value}".isprintable()
        assert value == value.strip()


def test_outside_a_test_nothing_goes_out() -> None:
    assert carrier.outgoing() == {}


def test_an_id_that_is_not_text_stays_behind_and_raises_nothing() -> None:
    with under_test(make_test("\ud800")):
        assert carrier.outgoing() == {}


@pytest.mark.promise("Fake requests that are not tested are marked too.", theme="propagation")
@pytest.mark.parametrize("case_name", ["shop.tests.test_order", "shop.<locals>.prüfung"])
def test_a_fake_request_without_a_test_is_marked_and_nothing_more(case_name: str) -> None:
    with fake_request(case_name):
        headers = carrier.outgoing()
    assert headers.keys() == {HEADER_NAME, HEADER_EXPIRES, HEADER_SYNTHETIC}
    assert headers[HEADER_SYNTHETIC] == "1"
    with carrier.incoming(headers):
        assert current_test() is None
        assert synthetic_case_var.get() == case_name
        assert carrier.outgoing().keys() == headers.keys()
    assert synthetic_case_var.get() is None


def test_in_a_fake_request_under_test_the_test_goes_out() -> None:
    test = make_test(synthetic=True)
    with fake_request(test.case_name), under_test(test):
        headers = carrier.outgoing()
    with carrier.incoming(headers):
        assert current_test() == test
        assert test.synthetic
        assert synthetic_case_var.get() is None


def test_what_was_in_force_is_put_back_after_an_error() -> None:
    outer, inner = make_test("outer"), make_test("inner")

    def fail() -> None:
        assert current_test() == inner
        raise ZeroDivisionError

    with under_test(outer):
        with pytest.raises(ZeroDivisionError), carrier.incoming(inner.as_headers()):
            fail()
        assert current_test() == outer


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {HEADER_ID: "order-1"},
        {HEADER_NAME: "shop.tests.test_order"},
        {HEADER_NAME: "", HEADER_SYNTHETIC: "1", HEADER_EXPIRES: LATER},
        {HEADER_NAME: "shop.tests.test_order", HEADER_SYNTHETIC: "0", HEADER_EXPIRES: LATER},
        {HEADER_NAME: "shop.tests.test_order", HEADER_SYNTHETIC: "1"},
        {HEADER_NAME: "shop.tests.test_order", HEADER_SYNTHETIC: "1", HEADER_EXPIRES: "soon"},
        {HEADER_NAME: "shop.tests.test_order", HEADER_SYNTHETIC: "1", HEADER_EXPIRES: EARLIER},
        {HEADER_SYNTHETIC: "1", HEADER_EXPIRES: LATER},
        good | {HEADER_EXPIRES: "soon"},
        good | {HEADER_TIMESTAMP: "2026-01-01T00:00:00"},
        make_test(expires=NOW - timedelta(seconds=1)).as_headers(),
        make_test(expires=NOW - timedelta(seconds=1), synthetic=True).as_headers(),
    ],
)
def test_headers_that_are_malformed_or_expired_change_nothing(headers: Mapping[str, str]) -> None:
    outer = make_test("outer")
    for around in (nullcontext(), under_test(outer)):
        with around as before, carrier.incoming(headers):
            assert current_test() == before
            assert synthetic_case_var.get() is None


@any_machine
@given(junk)
def test_no_header_whatsoever_raises(headers: Mapping[str, Any]) -> None:
    with carrier.incoming(headers):
        carrier.outgoing()
    carrier.verified(headers, KEY)


@any_machine
@given(executions)
def test_signed_headers_are_believed(test: TestExecution) -> None:
    genuine = carrier.verified(carrier.sign(test.as_headers(), KEY), KEY)
    assert genuine == test.as_headers()


def test_a_signed_mark_of_a_fake_request_is_believed() -> None:
    with fake_request("shop.tests.test_order"):
        headers = carrier.outgoing()
    assert carrier.verified(carrier.sign(headers, KEY), KEY) == headers


def test_only_what_was_signed_comes_out() -> None:
    headers = {**carrier.sign(good, KEY), "Cookie": "session", "X-Forwarded-For": "10.0.0.1"}
    assert carrier.verified(headers, KEY) == good


@pytest.mark.parametrize("key", [(), ("another secret",)])
def test_without_the_key_nothing_is_believed(key: tuple[str, ...]) -> None:
    assert carrier.verified(carrier.sign(good, KEY), key) is None


def test_any_key_of_the_list_is_believed_and_the_first_signs() -> None:
    assert carrier.sign(good, ("new", "old")) == carrier.sign(good, ("new",)) != carrier.sign(good, ("old",))
    for key in ("new", "old"):
        assert carrier.verified(carrier.sign(good, (key,)), ("new", "old")) == good
    assert carrier.verified(carrier.sign(good, ("older",)), ("new", "old")) is None


def test_unsigned_headers_are_not_believed() -> None:
    assert carrier.verified(good, KEY) is None
    assert carrier.verified({}, KEY) is None
    assert carrier.verified(carrier.sign({}, KEY), KEY) is None


@any_machine
@given(names, st.text())
@example(HEADER_EXPIRES, "2999-01-01T00:00:00+00:00")
@example(HEADER_SIGNATURE, "")
def test_a_changed_header_is_not_believed(name: str, value: str) -> None:
    signed = carrier.sign(good, KEY)
    changed = signed | {name: value}
    assert carrier.verified(changed, KEY) == (good if changed == signed else None)


@any_machine
@given(st.sampled_from(carrier.HEADERS))
def test_a_removed_header_is_not_believed(name: str) -> None:
    signed = carrier.sign(good, KEY)
    del signed[name]
    assert carrier.verified(signed, KEY) is None


@any_machine
@given(st.permutations(carrier.HEADERS))
def test_values_cannot_be_moved_between_headers(order: list[str]) -> None:
    signed = carrier.sign(good, KEY)
    moved = {name: signed[other] for name, other in zip(carrier.HEADERS, order, strict=True)}
    moved[HEADER_SIGNATURE] = signed[HEADER_SIGNATURE]
    assert (carrier.verified(moved, KEY) is not None) == (moved == signed)


def test_a_value_cannot_be_spread_over_two_headers() -> None:
    signed = carrier.sign({HEADER_ID: "ab", HEADER_NAME: "c"}, KEY)
    assert carrier.verified(signed | {HEADER_ID: "a", HEADER_NAME: "bc"}, KEY) is None


def test_headers_over_the_limit_are_not_believed() -> None:
    fits = carrier.sign(good | {HEADER_ID: "x" * carrier.MAX_HEADER}, KEY)
    too_long = carrier.sign(good | {HEADER_ID: "x" * (carrier.MAX_HEADER + 1)}, KEY)
    assert carrier.verified(fits, KEY) is not None
    assert carrier.verified(too_long, KEY) is None
