"""The current test as headers of messages whose transport LiveCheck does not know."""

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

from livecheck_celery.context import current_test, fake_request, synthetic_case_var, under_test
from livecheck_celery.propagation import headers as carrier
from livecheck_celery.propagation.gate import LOOKED_AT, Gate
from livecheck_celery.propagation.messages import extract, inject
from tests.helpers.factories import make_gate, make_test
from tests.helpers.servers import KEY

TEST = make_test("order-1", synthetic=True)
SIGNED = carrier.sign(TEST.as_headers(), (KEY,))
PAIRS = [(name, value.encode()) for name, value in SIGNED.items()]
GATE = make_gate(KEY)


@pytest.mark.parametrize("headers", [{}, httpx.Headers(), multidict.CIMultiDict[str]()], ids=lambda h: type(h).__name__)
def test_a_mapping_is_given_the_signed_test(headers: Any) -> None:
    headers["X"] = "1"
    with under_test(TEST):
        inject(GATE, headers)
        inject(GATE, headers)
    assert headers["X"] == "1"
    assert {LOOKED_AT[name.lower()]: value for name, value in headers.items() if name.lower() in LOOKED_AT} == SIGNED
    assert len(headers) == 1 + len(SIGNED)


def test_a_list_is_given_pairs_as_kafka_has_them() -> None:
    headers: list[tuple[str, bytes]] = [("x", b"1"), ("livecheck-test-id", b"another")]
    with under_test(TEST):
        inject(GATE, headers)
    assert headers == [("x", b"1"), *PAIRS]


def test_headers_of_another_test_are_replaced_in_any_case() -> None:
    headers = {"livecheck-test-id": "another", "X": "1"}
    with under_test(TEST):
        inject(GATE, headers)
    assert headers == {"X": "1", **SIGNED}


def test_headers_that_have_methods_of_a_message_are_given_each_once() -> None:
    headers = Message()
    with under_test(TEST):
        inject(GATE, headers)  # type: ignore[arg-type]
        inject(GATE, headers)  # type: ignore[arg-type]
    assert headers.items() == list(SIGNED.items())


def test_outside_a_test_and_without_a_key_nothing_is_changed() -> None:
    headers = {"livecheck-test-id": "another"}
    inject(GATE, headers)
    with under_test(TEST):
        inject(make_gate(), headers)
    assert headers == {"livecheck-test-id": "another"}


@pytest.mark.parametrize(
    "headers", [None, 1, (), [1], MappingProxyType({}), "text", object()], ids=lambda it: type(it).__name__
)
def test_what_cannot_be_changed_raises_nothing(headers: Any) -> None:
    with under_test(TEST):
        inject(GATE, headers)


def test_an_error_of_the_gate_raises_nothing() -> None:
    class Broken(Gate):
        def headers(self) -> Mapping[str, str]:
            raise RuntimeError("broken")

        def accept(self, headers: Any) -> carrier.Carried:
            raise RuntimeError("broken")

    gate = Broken((KEY,), (), lambda _: None, lambda *_, **__: None, lambda: None)
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
def test_the_block_is_part_of_the_test_that_the_headers_carry(headers: Any) -> None:
    ignored: list[str] = []
    with extract(make_gate(KEY, ignored=ignored), headers) as test:
        assert current_test() == test == TEST
    assert current_test() is None
    assert ignored == []


def test_a_fake_request_is_known_by_its_mark() -> None:
    headers: dict[str, str] = {}
    with fake_request("shop.test_order"):
        inject(GATE, headers)
    with extract(GATE, headers) as test:
        assert (test, synthetic_case_var.get()) == (None, "shop.test_order")
    assert synthetic_case_var.get() is None


def test_a_message_without_headers_is_no_part_of_the_test_around_it() -> None:
    with under_test(make_test("order-2")) as around:
        with extract(GATE, {}) as test:
            assert current_test() is test is None
        with extract(GATE, SIGNED):
            assert current_test() == TEST
        assert current_test() is around


def test_an_error_in_the_block_is_the_callers_and_the_test_ends_with_it() -> None:
    with pytest.raises(RuntimeError, match="mine"), extract(GATE, SIGNED):
        raise RuntimeError("mine")
    assert current_test() is None


def test_coroutines_keep_to_their_own_message() -> None:
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
def test_other_headers_are_ignored_and_counted(reason: str, headers: Any) -> None:
    ignored: list[str] = []
    with extract(make_gate(KEY, ignored=ignored), headers) as test:
        assert test is None
    assert ignored == [reason]


anything = st.one_of(
    st.none(), st.integers(), st.text(), st.binary(), st.sampled_from([*LOOKED_AT.values(), *SIGNED.values()])
)
pairs = st.lists(st.one_of(st.tuples(anything, anything), anything), max_size=6)


@pytest.mark.promise("`extract()` raises nothing on malformed headers.", theme="propagation")
@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.one_of(anything, pairs, st.dictionaries(anything, anything, max_size=6)))
def test_bad_input_carries_nothing_and_raises_nothing(headers: Any) -> None:
    with extract(make_gate("another key"), headers) as test:
        assert test is None
    with under_test(TEST):
        inject(GATE, headers)
