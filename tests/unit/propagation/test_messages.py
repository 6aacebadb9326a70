"""Injecting the current test into message headers, and extracting it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from email.message import Message
from types import MappingProxyType
from typing import Any

import httpx
import multidict
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livecheck_celery.context import current_test, fake_request, under_test
from livecheck_celery.propagation.gate import KNOWN_HEADERS, Gate
from livecheck_celery.propagation.headers import Carried
from livecheck_celery.propagation.messages import extract, inject
from tests.helpers.factories import make_gate, make_test
from tests.helpers.http_server import KEY
from tests.helpers.marks import synthetic_case
from tests.helpers.signing import sign

pytestmark = pytest.mark.usefixtures("same_signature")

TEST = make_test("order-1")
SIGNED = sign(TEST.as_headers(), (KEY,))
PAIRS = [(name, value.encode()) for name, value in SIGNED.items()]
GATE = make_gate(KEY)


@pytest.mark.parametrize("headers", [{}, httpx.Headers(), multidict.CIMultiDict[str]()], ids=lambda h: type(h).__name__)
def test_inject_adds_the_signed_test_to_a_mapping(headers: Any) -> None:
    headers["X"] = "1"
    with under_test(TEST):
        inject(GATE, headers)
        inject(GATE, headers)
    assert headers["X"] == "1"
    assert {
        KNOWN_HEADERS[name.lower()]: value for name, value in headers.items() if name.lower() in KNOWN_HEADERS
    } == SIGNED
    assert len(headers) == 1 + len(SIGNED)


def test_inject_adds_pairs_to_a_list() -> None:
    headers: list[tuple[str, bytes]] = [("x", b"1"), ("livecheck-test-id", b"another")]
    with under_test(TEST):
        inject(GATE, headers)
    assert headers == [("x", b"1"), *PAIRS]


def test_inject_replaces_headers_of_another_test() -> None:
    headers = {"livecheck-test-id": "another", "X": "1"}
    with under_test(TEST):
        inject(GATE, headers)
    assert headers == {"X": "1", **SIGNED}


def test_inject_does_not_duplicate_email_message_headers() -> None:
    headers = Message()
    with under_test(TEST):
        inject(GATE, headers)
        inject(GATE, headers)
    assert headers.items() == list(SIGNED.items())


def test_inject_changes_nothing_outside_a_test_or_without_a_key() -> None:
    headers = {"livecheck-test-id": "another"}
    inject(GATE, headers)
    with under_test(TEST):
        inject(make_gate(), headers)
    assert headers == {"livecheck-test-id": "another"}


@pytest.mark.parametrize(
    "headers", [None, 1, (), [1], MappingProxyType({}), "text", object()], ids=lambda it: type(it).__name__
)
def test_inject_into_immutable_headers_does_not_raise(headers: Any) -> None:
    with under_test(TEST):
        inject(GATE, headers)


def test_error_in_the_gate_is_not_raised() -> None:
    class Broken(Gate):
        def headers(self) -> Mapping[str, str]:
            raise RuntimeError("broken")

        def accept(self, headers: Any, **_: Any) -> Carried:
            raise RuntimeError("broken")

    gate = Broken(
        None,
        count_ignored=lambda _: None,
        operation_finished=lambda *_, **__: None,
        on_request=lambda: None,
    )
    headers: dict[str, str] = {}
    with under_test(TEST):
        inject(gate, headers)
    assert headers == {}
    with extract(gate, SIGNED) as test:
        assert test is None


FORMS: dict[str, Any] = {
    "mapping": SIGNED,
    "lower case": {name.lower(): value for name, value in SIGNED.items()},
    "upper case": {name.upper(): value for name, value in SIGNED.items()},
    "pairs": list(SIGNED.items()),
    "iterator": iter([("X", 1), (None, b"\xff"), *SIGNED.items()]),
    "kafka": PAIRS,
    "asgi": [(name.lower().encode(), value.encode()) for name, value in SIGNED.items()],
    "views": [(bytearray(name.encode()), memoryview(value.encode())) for name, value in SIGNED.items()],
    "multidict": multidict.CIMultiDict([("X", "1"), ("X", "2"), *SIGNED.items()]),
}


@pytest.mark.promise("`inject()` and `extract()` carry a test over any transport.", theme="propagation")
@pytest.mark.parametrize("headers", FORMS.values(), ids=FORMS.keys())
def test_extract_makes_the_test_current(headers: Any) -> None:
    ignored: list[str] = []
    with extract(make_gate(KEY, ignored=ignored), headers) as test:
        assert current_test() == test == TEST
    assert current_test() is None
    assert ignored == []


def test_mark_of_a_fake_request_is_extracted() -> None:
    headers: dict[str, str] = {}
    with fake_request("shop.test_order"):
        inject(GATE, headers)
    with extract(GATE, headers) as test:
        assert (test, synthetic_case()) == (None, "shop.test_order")
    assert synthetic_case() is None


def test_extract_replaces_the_outer_test() -> None:
    with under_test(make_test("order-2")) as around:
        with extract(GATE, {}) as test:
            assert current_test() is test is None
        with extract(GATE, SIGNED):
            assert current_test() == TEST
        assert current_test() is around


def test_error_in_the_block_propagates_and_resets_the_test() -> None:
    with pytest.raises(RuntimeError, match="mine"), extract(GATE, SIGNED):
        raise RuntimeError("mine")
    assert current_test() is None


def test_concurrent_tasks_keep_their_own_message() -> None:
    async def consume(number: int, seen: list[str | None]) -> None:
        headers: dict[str, str] = {}
        with under_test(make_test(f"order-{number}")):
            inject(GATE, headers)
        with extract(GATE, headers):
            await asyncio.sleep(0)
            test = current_test()
            seen.append(test and test.id)

    async def main() -> list[str | None]:
        seen: list[str | None] = []
        await asyncio.gather(*(consume(number, seen) for number in range(8)))
        return seen

    assert sorted(map(str, asyncio.run(main()))) == [f"order-{number}" for number in range(8)]


@pytest.mark.parametrize(
    ("reason", "headers"),
    [
        ("unsigned", TEST.as_headers()),
        ("forged", {**SIGNED, "LiveCheck-Test-Id": "order-2"}),
        ("duplicated", [*PAIRS, *PAIRS]),
        ("malformed", {**SIGNED, "LiveCheck-Test-Id": 7}),
        ("forged", {**SIGNED, "LiveCheck-Test-Id": b"\xff\xfe"}),
    ],
)
def test_invalid_headers_are_ignored_and_counted_by_reason(reason: str, headers: Any) -> None:
    ignored: list[str] = []
    with extract(make_gate(KEY, ignored=ignored), headers) as test:
        assert test is None
    assert ignored == [reason]


anything = st.one_of(
    st.none(), st.integers(), st.text(), st.binary(), st.sampled_from([*KNOWN_HEADERS.values(), *SIGNED.values()])
)
pairs = st.lists(st.one_of(st.tuples(anything, anything), anything), max_size=6)


@pytest.mark.promise("`extract()` never raises on malformed headers.", theme="propagation")
@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.one_of(anything, pairs, st.dictionaries(anything, anything, max_size=6)))
def test_random_input_carries_nothing_and_never_raises(headers: Any) -> None:
    with extract(make_gate("another key"), headers) as test:
        assert test is None
    with under_test(TEST):
        inject(GATE, headers)
