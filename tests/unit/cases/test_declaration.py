from __future__ import annotations

import dataclasses
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypedDict

import pytest
from celery import Celery
from celery.schedules import crontab
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from livecheck_celery import BaseSignal, Case, ConfigurationError, LiveCheck, LiveCheckTestFailed, Signal, SignalEvent
from livecheck_celery.config import Settings, seconds
from livecheck_celery.tasks import beat_schedule as schedule


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


@pytest.fixture
def livecheck() -> LiveCheck:
    return LiveCheck(Celery("shop", broker="redis://localhost:1/0", set_as_current=False))


def test_the_decorator_gives_the_case_itself(livecheck: LiveCheck) -> None:
    @livecheck.case()
    class test_order:
        def run(self) -> None: ...

    assert isinstance(test_order, Case)
    name = f"{__name__}.test_the_decorator_gives_the_case_itself.<locals>.test_order"
    assert test_order.name == name
    assert livecheck.cases == {name: test_order}


def test_the_decorator_works_without_parentheses(livecheck: LiveCheck) -> None:
    @livecheck.case
    class test_order(Case): ...

    assert isinstance(test_order, Case)


def test_signals_are_counted_in_order_by_annotation_and_by_hand(livecheck: LiveCheck) -> None:
    @livecheck.case()
    class test_order(livecheck.Case):  # type: ignore[name-defined]
        first: Signal[str]
        second: livecheck.Signal[int]  # type: ignore[name-defined]
        number: int
        by_hand = Signal[Order]()
        bare: Signal

    assert [(s.name, s.index, s.value_type) for s in test_order.signals.values()] == [
        ("first", 1, str),
        ("second", 2, int),
        ("bare", 3, Any),
        ("by_hand", 4, Order),
    ]
    assert test_order.total_signals == 4
    assert test_order.first.case is test_order
    assert isinstance(test_order.first, BaseSignal)


def test_signals_are_inherited_and_kept_apart(livecheck: LiveCheck) -> None:
    class Base(Case):
        opened: Signal[str]

    @livecheck.case(name="a")
    class a(Base):
        closed: Signal[str]

    @livecheck.case(name="b")
    class b(Base): ...

    assert list(a.signals) == ["opened", "closed"]
    assert list(b.signals) == ["opened"]
    assert a.opened.case is a
    assert b.opened.case is b


def test_annotations_may_speak_of_local_names(livecheck: LiveCheck) -> None:
    @dataclasses.dataclass
    class Local:
        x: int

    @livecheck.case()
    class test_local:
        sent: Signal[Local]

    assert test_local.sent.value_type is Local


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
def test_a_value_comes_back_as_what_it_was(livecheck: LiveCheck, kind: Any, value: Any) -> None:
    case = Case(app=livecheck, name="typed", signals=[Signal("sent", value_type=kind)])
    signal = case.signals["sent"]
    event = SignalEvent("sent", "typed", "k", signal.encode(value))
    assert signal.decode(event) == value
    assert type(signal.decode(event)) is type(value)


def test_a_value_that_does_not_fit_is_said_in_words(livecheck: LiveCheck) -> None:
    case = Case(app=livecheck, name="typed", signals=[Signal("sent", value_type=Order)])
    signal = case.signals["sent"]
    with pytest.raises(LiveCheckTestFailed) as caught:
        signal.decode(SignalEvent("sent", "typed", "k", '{"id": "x", "price": "1"}'))
    text = str(caught.value)
    assert text.startswith("signal sent (1 of 1): value is not of type Order: ")
    assert "id: Input should be a valid integer" in text
    assert "at: Field required" in text


@pytest.mark.promise(
    "An invalid setting of a case raises at declaration, naming the case and the field.",
    theme="cases",
)
@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"probability": 1.5}, "probability"),
        ({"probability": -0.1}, "probability"),
        ({"warn_stalled_after": -1}, "warn_stalled_after"),
        ({"test_expires": "soon"}, "test_expires"),
        ({"test_expires": timedelta(seconds=-1)}, "test_expires"),
        ({"frequency": "x"}, "frequency"),
        ({"frequency": 0}, "frequency"),
        ({"max_history": 0}, "max_history"),
        ({"url_error_retries": -1}, "url_error_retries"),
        ({"url_timeout_total": float("nan")}, "url_timeout_total"),
        ({"probabilty": 1}, "probabilty"),
    ],
)
def test_a_bad_setting_is_said_at_declaration(livecheck: LiveCheck, options: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^case shop\.bad: {field}: "):

        @livecheck.case(name="shop.bad", **options)
        class bad: ...

    assert livecheck.cases == {}


def test_a_name_is_given_once(livecheck: LiveCheck) -> None:
    livecheck.case(name="twice")(type("a", (), {}))
    with pytest.raises(ConfigurationError, match="^case twice: name: "):
        livecheck.case(name="twice")(type("b", (), {}))


def test_a_signal_nobody_can_carry_is_said_at_declaration(livecheck: LiveCheck) -> None:
    class Opaque: ...

    with pytest.raises(ConfigurationError, match="case x: signal sent: .*Opaque"):

        @livecheck.case(name="x")
        class x:
            sent: Signal[Opaque]

    with pytest.raises(ConfigurationError, match="case y: signal sent: .*Nowhere"):

        @livecheck.case(name="y")
        class y:
            sent: Signal[Nowhere]  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("given", "expected"),
    [(30, 30.0), ("30s", 30.0), ("5m", 300.0), ("3h", 10800.0), ("1.5 h", 5400.0), (timedelta(minutes=1), 60.0)],
)
def test_durations_are_numbers_texts_or_timedeltas(livecheck: LiveCheck, given: Any, expected: float) -> None:
    case = Case(app=livecheck, name="d", warn_stalled_after=given, frequency=given, test_expires=given)
    assert case.warn_stalled_after == expected
    assert case.frequency == expected
    assert case.test_expires == timedelta(seconds=expected)


@given(st.floats(min_value=0.001, max_value=1e6), st.sampled_from([("ms", 0.001), ("s", 1), ("m", 60), ("d", 86400)]))
def test_a_duration_as_text_is_its_number_times_its_unit(number: float, unit: tuple[str, float]) -> None:
    assert seconds(f"{number:.6f}{unit[0]}") == pytest.approx(round(number, 6) * unit[1])


def test_a_frequency_may_be_a_celery_schedule(livecheck: LiveCheck) -> None:
    schedule = crontab(minute="*/5")
    assert Case(app=livecheck, name="c", frequency=schedule).frequency is schedule


def test_argument_goes_before_class_before_configuration_before_environment(
    livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVECHECK_PROBABILITY", "0.1")
    monkeypatch.setenv("LIVECHECK_MAX_HISTORY", "11")
    monkeypatch.setenv("LIVECHECK_WARN_STALLED_AFTER", "7m")
    monkeypatch.setenv("LIVECHECK_ACTIVE", "false")
    livecheck.app.conf.livecheck_probability = 0.2
    livecheck.app.conf.livecheck_max_history = 22

    class Plain(Case): ...

    class Set(Case):
        probability = 0.3

    assert Plain(app=livecheck, name="a").max_history == 22
    assert Plain(app=livecheck, name="b").probability == 0.2
    assert Set(app=livecheck, name="c").probability == 0.3
    assert Set(app=livecheck, name="d", probability=0.4).probability == 0.4
    assert Plain(app=livecheck, name="e").warn_stalled_after == 420.0
    assert Plain(app=livecheck, name="f").active is False


def test_a_case_in_a_script_is_named_after_the_app(livecheck: LiveCheck) -> None:
    script_class = type("test_order", (), {"__module__": "__main__"})
    assert livecheck.case()(script_class).name == "shop.test_order"


@pytest.mark.promise("A request that is not tested creates no execution.", theme="requests")
@pytest.mark.parametrize("options", [{"probability": 0.0}, {"active": False}])
def test_a_request_that_is_not_tested_makes_nothing(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    monkeypatch.setattr("livecheck_celery.cases.trigger.TestExecution", lambda **values: made.append(values))
    livecheck = LiveCheck(redis_url="redis://127.0.0.1:1/0")
    case = livecheck.add_case(Case, name="idle", **options)
    first, second = case.maybe_trigger("o-1", side="buy"), case.maybe_trigger("o-2")
    assert first is second, "one for all that are not tested"
    with first as test:
        assert test is None
    assert made == []
    livecheck.close()


def test_declaring_the_last_of_many_cases_costs_what_the_first_did(
    livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduled: list[str] = []
    entries = schedule.case_entries

    def count(case: Case, settings: Settings) -> dict[str, Any]:
        scheduled.append(case.name)
        return entries(case, settings)

    monkeypatch.setattr(schedule, "case_entries", count)
    assert livecheck.app.conf.beat_schedule is not None  # configured, as Celery's app soon is
    names = [f"shop.test_{number}" for number in range(20)]
    for name in names:
        livecheck.add_case(type("test_order", (Case,), {}), name=name)
    assert [name for name in scheduled if name in names] == names


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("shop.{order}", "curly brackets"),
        ("shop.order\nFAKE LOG LINE", "printable"),
        ("shop.\x1b[31mred", "printable"),
        ("shop.\u202ereversed", "printable"),
        ("x" * 513, "at most 512"),
    ],
    ids=["braces", "newline", "escape", "direction", "length"],
)
def test_a_name_that_would_harm_keys_or_logs_is_refused(livecheck: LiveCheck, name: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why) as caught:
        livecheck.add_case(type("test_order", (Case,), {}), name=name)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["a case with spaces", "Bestellung.prüfen", "日本.test", "x" * 512])
def test_any_other_name_is_fine(livecheck: LiveCheck, name: str) -> None:
    assert livecheck.add_case(type("test_order", (Case,), {}), name=name).name == name


def test_the_least_patient_case_sets_the_pace_of_stall_checks_whenever_it_was_declared(livecheck: LiveCheck) -> None:
    livecheck.add_case(type("test_first", (Case,), {}), warn_stalled_after=20.0)
    entry = livecheck.app.conf.beat_schedule["livecheck:stalled"]
    livecheck.add_case(type("test_second", (Case,), {}), warn_stalled_after=1800.0)
    assert entry["schedule"] == livecheck.app.conf.beat_schedule["livecheck:stalled"]["schedule"] == 5.0
    livecheck.add_case(type("test_third", (Case,), {}), warn_stalled_after=8.0)
    assert livecheck.app.conf.beat_schedule["livecheck:stalled"]["schedule"] == 2.0
