"""LiveCheck headers: building, parsing, signing and verifying."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from livecheck_celery.blocks import Mark, Work
from livecheck_celery.config import MAX_HOP_AGE
from livecheck_celery.context import current_test, fake_request, is_synthetic, under_test
from livecheck_celery.models import (
    HEADER_EXPIRES,
    HEADER_ID,
    HEADER_LAYOUT,
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
    Carried,
    is_from_the_future,
    limit,
    outgoing,
    parse,
)
from tests.helpers.factories import make_test
from tests.helpers.marks import make_mark, synthetic_case
from tests.helpers.signing import headers_of, sign, verify

KEY = ("a secret",)
any_machine = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
NOW = datetime.now(UTC)


moments = st.datetimes(timezones=st.just(UTC))
executions = st.builds(
    TestExecution,
    id=st.text(),
    case_name=st.text(),
    timestamp=moments,
    test_args=st.just([]),
    test_kwargs=st.just({}),
    expires=st.just(NOW + timedelta(days=1)),
    nonce=st.text("0123456789abcdef", max_size=32),
    mark=st.none() | st.builds(Mark, case_name=st.text(), since=moments, expires=moments),
)
names = st.sampled_from([*HEADERS, HEADER_SIGNATURE])
GOOD_TEST = make_test(synthetic=True, nonce="0123456789ab")
good = headers_of(GOOD_TEST)
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
    for name, value in sign(headers_of(test), KEY).items():
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
    assert headers.keys() == {HEADER_SYNTHETIC}
    with entered(headers):
        assert current_test() is None
        assert synthetic_case() == case_name
        assert outgoing() == headers
    assert synthetic_case() is None


def test_test_and_mark_cross_a_hop_together() -> None:
    with fake_request("shop.test_stock") as block, under_test(make_test()) as test:
        headers = outgoing()
    with entered(headers):
        assert current_test() == replace(test, mark=block.mark)
        assert synthetic_case() == "shop.test_stock"
        assert outgoing() == headers


def test_mark_is_the_same_after_any_number_of_hops() -> None:
    headers = outgoing_of_a_fake_request()
    for _ in range(5):
        with entered(headers), under_test(make_test()):
            assert outgoing()[HEADER_SYNTHETIC] == headers[HEADER_SYNTHETIC]


def outgoing_of_a_fake_request() -> dict[str, str]:
    with fake_request("shop.test_order"):
        return outgoing()


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
        make_test().as_headers() | {HEADER_EXPIRES: "soon"},
        make_test().as_headers() | {HEADER_TIMESTAMP: "2026-01-01T00:00:00"},
        make_test().as_headers() | {HEADER_LAYOUT: "99"},
        make_test(expires=NOW - timedelta(seconds=1)).as_headers(),
    ],
)
def test_malformed_or_expired_headers_carry_no_test_but_the_mark(headers: Mapping[str, str]) -> None:
    assert parse(headers) == NOTHING
    mark = make_mark()
    with Work((), mark):
        assert parse({**headers, **outgoing()}) == Carried((), mark)


@pytest.mark.parametrize("value", ["1", "", "soon;soon;c", "2026-01-01;2026-01-02;c", ";;;;", b"1", 1, True, ["x"]])
def test_mark_that_cannot_be_read_is_a_mark_that_no_service_accepts_over_http(value: Any) -> None:
    headers = {HEADER_SYNTHETIC: value}
    with entered(headers):
        assert is_synthetic()
    assert limit(parse(headers), MAX_HOP_AGE) == NOTHING


@any_machine
@given(junk)
def test_random_headers_never_raise(headers: Mapping[str, Any]) -> None:
    with entered(headers):
        outgoing()
    verify(headers, KEY)


@any_machine
@given(executions)
def test_signed_headers_are_verified(test: TestExecution) -> None:
    assert verify(sign(headers_of(test), KEY), KEY) == headers_of(test)


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


# -- the age of what comes over HTTP


def ago(**age: float) -> datetime:
    return datetime.now(UTC) - timedelta(**age)


def test_test_and_mark_are_accepted_until_they_are_too_old() -> None:
    old, young = make_test("old", timestamp=ago(seconds=61)), make_test("young", timestamp=ago(seconds=59))
    assert [test.id for test in limit(Carried((young, old), None), 60).tests] == ["young"]
    assert limit(Carried((), make_mark(since=ago(seconds=59))), 60).mark is not None
    assert limit(Carried((), make_mark(since=ago(seconds=61))), 60) == NOTHING


def test_test_and_mark_are_judged_apart() -> None:
    mark, old_mark = make_mark(since=ago(seconds=59)), make_mark(since=ago(seconds=61))
    old, young = make_test(timestamp=ago(seconds=61)), make_test(timestamp=ago(seconds=59))
    assert limit(Carried((old,), mark), 60) == Carried((), replace(mark, expires=mark.since + timedelta(seconds=60)))
    [left] = limit(Carried((replace(young, mark=old_mark),), old_mark), 60).tests
    assert (left.id, left.mark) == (young.id, None)


@pytest.mark.parametrize("expires", [datetime.max.replace(tzinfo=UTC), NOW + timedelta(days=3650)])
def test_expiry_in_the_far_future_is_not_believed(expires: datetime) -> None:
    test, mark = make_test(expires=expires), replace(make_mark(), expires=expires)
    limited = limit(Carried((test,), mark), 60)
    assert limited.tests[0].expires == test.timestamp + timedelta(seconds=60)
    assert limited.mark == replace(mark, expires=mark.since + timedelta(seconds=60))


def test_age_never_lengthens_an_expiry() -> None:
    test = make_test(expires=datetime.now(UTC) + timedelta(seconds=10))
    mark = replace(make_mark(), expires=datetime.now(UTC) + timedelta(seconds=10))
    assert limit(Carried((test,), mark), 3600) == Carried((replace(test, mark=mark),), mark)


@pytest.mark.parametrize(("ahead", "refused"), [(4, False), (6, True), (60 * 24 * 365, True)])
def test_clock_of_the_sender_can_be_five_minutes_ahead(ahead: float, refused: bool) -> None:
    test, mark = make_test(timestamp=ago(minutes=-ahead)), make_mark(since=ago(minutes=-ahead))
    assert is_from_the_future(Carried((test,), None)) is refused
    assert is_from_the_future(Carried((make_test(), test), None)) is refused
    assert is_from_the_future(Carried((), mark)) is refused
