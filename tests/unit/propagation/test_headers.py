"""LiveCheck headers: building, parsing, signing and verifying."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from livecheck_celery.blocks import Work
from livecheck_celery.context import current_test, fake_request, synthetic_case, under_test
from livecheck_celery.models import (
    HEADER_EXPIRES,
    HEADER_ID,
    HEADER_NAME,
    HEADER_SIGNATURE,
    HEADER_SYNTHETIC,
    HEADER_TIMESTAMP,
    TestExecution,
)
from livecheck_celery.propagation.headers import (
    HEADERS,
    MAX_HEADER,
    NOTHING,
    outgoing,
    parse,
    sign,
    verify,
)
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
names = st.sampled_from([*HEADERS, HEADER_SIGNATURE])
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
    st.sampled_from([{}, good, sign(good, KEY)]),
)


@contextmanager
def entered(headers: Mapping[str, Any]) -> Iterator[None]:
    with Work(*parse(headers)):
        yield


@any_machine
@given(executions)
def test_headers_round_trip(test: TestExecution) -> None:
    with under_test(test):
        headers = outgoing()
    assert current_test() is None
    with entered(headers):
        assert current_test() == test
        assert outgoing().keys() == headers.keys()
    assert current_test() is None


@any_machine
@given(executions)
def test_headers_are_printable_ascii_without_outer_spaces(test: TestExecution) -> None:
    for name, value in sign(test.as_headers(), KEY).items():
        assert f"{name}: {value}".isascii()
        assert f"{name}: {value}".isprintable()
        assert value == value.strip()


def test_no_headers_outside_a_test() -> None:
    assert outgoing() == {}


def test_id_with_a_lone_surrogate_sends_no_headers() -> None:
    with under_test(make_test("\ud800")):
        assert outgoing() == {}


@pytest.mark.parametrize("case_name", ["shop.tests.test_order", "shop.<locals>.prüfung"])
def test_fake_request_without_a_test_sends_only_its_mark(case_name: str) -> None:
    with fake_request(case_name):
        headers = outgoing()
    assert headers.keys() == {HEADER_NAME, HEADER_EXPIRES, HEADER_SYNTHETIC}
    assert headers[HEADER_SYNTHETIC] == "1"
    with entered(headers):
        assert current_test() is None
        assert synthetic_case() == case_name
        assert outgoing().keys() == headers.keys()
    assert synthetic_case() is None


def test_test_takes_precedence_over_the_mark_of_a_fake_request() -> None:
    test = make_test(synthetic=True)
    with fake_request(test.case_name), under_test(test):
        headers = outgoing()
    with entered(headers):
        assert current_test() == test
        assert test.synthetic
        assert synthetic_case() is None


def test_leaving_the_work_of_a_hop_restores_the_outer_context() -> None:
    outer, inner = make_test("outer"), make_test("inner")

    with under_test(outer), fake_request("shop.test_order"):
        with Work(*parse(inner.as_headers())):
            assert (current_test(), synthetic_case()) == (inner, None)
        assert (current_test(), synthetic_case()) == (outer, "shop.test_order")


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
def test_malformed_or_expired_headers_carry_nothing(headers: Mapping[str, str]) -> None:
    assert parse(headers) == NOTHING


@any_machine
@given(junk)
def test_random_headers_never_raise(headers: Mapping[str, Any]) -> None:
    with entered(headers):
        outgoing()
    verify(headers, KEY)


@any_machine
@given(executions)
def test_signed_headers_are_verified(test: TestExecution) -> None:
    genuine = verify(sign(test.as_headers(), KEY), KEY)
    assert genuine == test.as_headers()


def test_signed_mark_of_a_fake_request_is_verified() -> None:
    with fake_request("shop.tests.test_order"):
        headers = outgoing()
    assert verify(sign(headers, KEY), KEY) == headers


def test_verify_returns_only_signed_headers() -> None:
    headers = {**sign(good, KEY), "Cookie": "session", "X-Forwarded-For": "10.0.0.1"}
    assert verify(headers, KEY) == good


@pytest.mark.parametrize("key", [(), ("another secret",)])
def test_verification_fails_without_the_key(key: tuple[str, ...]) -> None:
    assert verify(sign(good, KEY), key) is None


def test_first_key_signs_and_every_key_verifies() -> None:
    assert sign(good, ("new", "old")) == sign(good, ("new",)) != sign(good, ("old",))
    for key in ("new", "old"):
        assert verify(sign(good, (key,)), ("new", "old")) == good
    assert verify(sign(good, ("older",)), ("new", "old")) is None


def test_unsigned_headers_are_rejected() -> None:
    assert verify(good, KEY) is None
    assert verify({}, KEY) is None
    assert verify(sign({}, KEY), KEY) is None


@any_machine
@given(names, st.text())
@example(HEADER_EXPIRES, "2999-01-01T00:00:00+00:00")
@example(HEADER_SIGNATURE, "")
def test_changed_header_is_rejected(name: str, value: str) -> None:
    signed = sign(good, KEY)
    changed = signed | {name: value}
    assert verify(changed, KEY) == (good if changed == signed else None)


@any_machine
@given(st.sampled_from(HEADERS))
def test_removed_header_is_rejected(name: str) -> None:
    signed = sign(good, KEY)
    del signed[name]
    assert verify(signed, KEY) is None


@any_machine
@given(st.permutations(HEADERS))
def test_swapped_values_are_rejected(order: list[str]) -> None:
    signed = sign(good, KEY)
    moved = {name: signed[other] for name, other in zip(HEADERS, order, strict=True)}
    moved[HEADER_SIGNATURE] = signed[HEADER_SIGNATURE]
    assert (verify(moved, KEY) is not None) == (moved == signed)


def test_value_split_over_two_headers_is_rejected() -> None:
    signed = sign({HEADER_ID: "ab", HEADER_NAME: "c"}, KEY)
    assert verify(signed | {HEADER_ID: "a", HEADER_NAME: "bc"}, KEY) is None


def test_header_over_the_limit_is_rejected() -> None:
    fits = sign(good | {HEADER_ID: "x" * MAX_HEADER}, KEY)
    too_long = sign(good | {HEADER_ID: "x" * (MAX_HEADER + 1)}, KEY)
    assert verify(fits, KEY) is not None
    assert verify(too_long, KEY) is None


def test_mark_of_a_fake_request_is_valid_for_five_minutes() -> None:
    with fake_request("c"):
        expires = datetime.fromisoformat(outgoing()[HEADER_EXPIRES])
    assert timedelta(minutes=4) < expires - datetime.now(UTC) <= timedelta(minutes=5)
