"""Values of signals: encoded by the sender, decoded and validated by the test."""

from __future__ import annotations

import dataclasses
import json
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, TypedDict

import pytest
from pydantic import BaseModel, PlainSerializer, TypeAdapter

from livecheck_celery import (
    Case,
    ConfigurationError,
    InvalidPayload,
    LiveCheck,
    LiveCheckTestFailed,
    Signal,
    SignalEvent,
)
from livecheck_celery.cases import base_signal
from livecheck_celery.cases.serialization import encode
from livecheck_celery.models import JSONText


@dataclasses.dataclass
class Order:
    id: int
    price: Decimal
    at: datetime


class Item(BaseModel):
    sku: uuid.UUID
    amount: int


class Row(TypedDict):
    day: date
    tags: list[str]


@pytest.mark.promise("A signal's value is received with the type it was sent with.", theme="signals")
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Order, Order(1, Decimal("9.90"), datetime(2026, 1, 2, tzinfo=UTC))),
        (Item, Item(sku=uuid.uuid4(), amount=3)),
        (Row, Row(day=date(2026, 1, 2), tags=["a"])),
        (datetime, datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)),
        (Decimal, Decimal("0.1")),
        (uuid.UUID, uuid.uuid4()),
        (bytes, b"\x00\xff"),
        (list[Order], [Order(1, Decimal(1), datetime(2026, 1, 2, tzinfo=UTC))]),
        (int | None, None),
        (float, float("inf")),
        (Any, {"a": [1, None, "ü"]}),
    ],
)
def test_value_is_received_with_its_type(livecheck: LiveCheck, kind: Any, value: Any) -> None:
    case = Case(app=livecheck, name="typed", signals=[Signal("sent", value_type=kind)])
    signal = case.signals["sent"]
    event = SignalEvent("sent", "typed", "k", signal.encode(value))
    assert signal.decode(event) == value
    assert type(signal.decode(event)) is type(value)


PLAIN = ["", "o-1", 'say "no"\n\t\x00\x7f\\', True, False, None, 0, -(2**63) + 1]
OTHERS = ["caf\xe9", "\ud800", 2**63, 1.5, Decimal(1), uuid.UUID(int=1)]


@pytest.mark.parametrize("kind", [Any, str, int, bool])
@pytest.mark.parametrize("value", [*PLAIN, *OTHERS])
def test_plain_value_is_sent_as_by_the_serializer(livecheck: LiveCheck, kind: Any, value: Any) -> None:
    signal = Case(app=livecheck, name="typed", signals=[Signal("sent", value_type=kind)]).signals["sent"]
    assert json.loads(signal.encode(value)) == json.loads(encode(signal.adapter, value, 1_000))


def test_plain_value_needs_no_serializer(livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    serialized: list[Any] = []
    monkeypatch.setattr(base_signal, "encode", lambda _, value, __: serialized.append(value) or b"null")
    for kind in (Any, str, Decimal):
        signal = Case(app=livecheck, name="typed", signals=[Signal("sent", value_type=kind)]).signals["sent"]
        for value in PLAIN:
            signal.encode(value)
        assert serialized == (PLAIN if kind is Decimal else [])


def test_plain_value_of_a_signal_with_its_own_adapter_is_sent_by_it(livecheck: LiveCheck) -> None:
    class Loud(Signal[str]):
        adapter = TypeAdapter(Annotated[str, PlainSerializer(lambda text: text.upper())])  # type: ignore[assignment]

    signal = Case(app=livecheck, name="typed", signals=[Loud("sent")]).signals["sent"]
    assert signal.encode("x") == '"X"'


@pytest.mark.parametrize(("letter", "letters"), [("x", 998), ("\xe9", 499)])
def test_value_over_the_limit_of_bytes_is_refused(letter: str, letters: int) -> None:
    livecheck = LiveCheck(redis_url="redis://127.0.0.1:1/0", max_payload=1_000)
    signal = Case(app=livecheck, name="typed", signals=[Signal("sent", value_type=str)]).signals["sent"]
    assert len(signal.encode(letter * letters).encode()) == 1_000
    with pytest.raises(InvalidPayload, match=r"value is 100[12] bytes, over the limit of 1000"):
        signal.encode(letter * (letters + 1))


def test_value_of_another_type_fails_the_test_with_the_fields_named(livecheck: LiveCheck) -> None:
    case = Case(app=livecheck, name="typed", signals=[Signal("sent", value_type=Order)])
    signal = case.signals["sent"]
    with pytest.raises(LiveCheckTestFailed) as caught:
        signal.decode(SignalEvent("sent", "typed", "k", JSONText('{"id": "x", "price": "1"}')))
    text = str(caught.value)
    assert text.startswith("signal sent (1 of 1): value is not of type Order: ")
    assert "id: Input should be a valid integer" in text
    assert "at: Field required" in text


def test_value_type_is_any_without_an_annotation(livecheck: LiveCheck) -> None:
    assert Signal("sent").value_type is Any
    assert Signal[int]("sent").value_type is int
    case = Case(app=livecheck, name="typed", signals=[Signal[int]("sent")])
    assert case.signals["sent"].value_type is int


def test_signal_without_a_name_is_refused(livecheck: LiveCheck) -> None:
    with pytest.raises(ConfigurationError, match="case typed: a signal has no name"):
        Case(app=livecheck, name="typed", signals=[Signal()])


def test_signal_of_a_class_that_is_not_registered_names_the_remedy() -> None:
    class test_order:
        sent = Signal[str]("sent")

    with pytest.raises(ConfigurationError, match=r"signal sent: .*decorate it with @livecheck\.case\(\)"):
        test_order.sent.send("x", key="o-1", force=True)


def test_send_outside_a_test_does_nothing_unless_forced_with_a_key(livecheck: LiveCheck) -> None:
    case = Case(app=livecheck, name="typed", signals=[Signal("sent")])
    case.signals["sent"].send("x")
    assert livecheck._runtime is None, "nothing was queued"
    with pytest.raises(ConfigurationError, match=r"case typed: signal sent: .*send\(force=True\) requires key="):
        case.signals["sent"].send("x", force=True)


def test_error_of_send_is_logged_once_and_not_raised(
    livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    case = Case(app=livecheck, name="typed", signals=[Signal("sent")])
    monkeypatch.setattr(livecheck.runtime.outbox, "put", fail)
    for _ in range(3):
        case.signals["sent"].send("x", key="o-1", force=True)
    assert caplog.messages == ["case typed: failed to send signal sent; continuing"]
