"""Arguments of a test: converted to JSON, limited in size, and independent of the caller's objects."""

import math
from dataclasses import fields
from typing import Any

import pytest
from celery import Celery
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from pydantic_core import to_json, to_jsonable_python

from livecheck_celery import Case, InvalidPayload, LiveCheck
from livecheck_celery.cases import arguments
from livecheck_celery.cases.arguments import build, build_checked, check_size
from livecheck_celery.models import EXECUTION, TestExecution
from livecheck_celery.propagation.traceparent import traceparent
from livecheck_celery.store.encoding import execution_json

LIMIT = 1000
livecheck = LiveCheck(Celery("shop", broker="redis://127.0.0.1:1/0", set_as_current=False), max_payload=LIMIT)
case = livecheck.add_case(Case, name="shop.test_order")

texts = st.one_of(st.text(), st.text(alphabet='ab\x00\n"\\', max_size=400))
scalars = st.one_of(
    texts, st.booleans(), st.none(), st.integers(), st.floats(allow_nan=False), st.decimals(), st.uuids()
)
values = st.one_of(scalars, st.lists(scalars, max_size=3), st.dictionaries(texts, scalars, max_size=3))


@settings(deadline=None)
@given(texts, st.lists(values, max_size=4).map(tuple), st.dictionaries(texts, values, max_size=3))
@example("\x00" * 400, (), {})
@example("o-1", (math.inf,), {"side": -math.inf})
@example("o-1", (2**63, -(2**63), True, None, "side"), {"side": "buy"})
def test_arguments_are_converted_to_json_up_to_the_size_limit(
    test_id: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    test = build(case, test_id, args, kwargs)
    assert test.test_args == to_jsonable_python(list(args))
    assert test.test_kwargs == to_jsonable_python(kwargs)
    size = len(to_json((test.id, test.test_args, test.test_kwargs)))
    if size > LIMIT:
        with pytest.raises(InvalidPayload, match=f"are {size} bytes, over the limit of {LIMIT}"):
            check_size(test, case.app.settings.max_payload)
        with pytest.raises(InvalidPayload, match=f"are {size} bytes, over the limit of {LIMIT}"):
            build_checked(case, test_id, args, kwargs)
    else:
        assert check_size(test, case.app.settings.max_payload) == size
        checked, approximate = build_checked(case, test_id, args, kwargs)
        assert (checked.test_args, checked.test_kwargs) == (test.test_args, test.test_kwargs)
        assert approximate * 6 >= size
        assert EXECUTION.validate_json(execution_json(test)) == test


def test_execution_has_every_field() -> None:
    assert vars(build(case, "o-1")).keys() == {field.name for field in fields(TestExecution)}


@pytest.mark.parametrize(("args", "serialized"), [(("buy", 3, True, None), 0), (((3,),), 1), (("caf\xe9",), 1)])
def test_arguments_of_a_request_are_serialized_at_most_once(
    args: tuple[Any, ...], serialized: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []
    monkeypatch.setattr(arguments, "to_json", lambda value: calls.append(value) or to_json(value))
    test, size = build_checked(case, "o-1", args, {"side": "buy"})
    assert len(calls) == serialized
    assert size >= len(to_json((test.id, test.test_args, test.test_kwargs))) // 6


def test_half_a_surrogate_pair_in_an_id_or_an_argument_becomes_its_escape() -> None:
    test = build(case, "caf\udce9", ("\ud800",), {"side": {"\ud800": "\ud800"}})
    assert (test.id, test.test_args, test.test_kwargs) == (
        r"caf\udce9",
        [r"\ud800"],
        {"side": {r"\ud800": r"\ud800"}},
    )
    check_size(test, case.app.settings.max_payload)
    assert EXECUTION.validate_json(execution_json(test)) == test


@pytest.mark.parametrize("args", [(object(),), ({"a": object()},)])
def test_arguments_that_are_not_json_are_refused(args: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidPayload):
        check_size(build(case, "o-1", args), case.app.settings.max_payload)
    with pytest.raises(InvalidPayload):
        check_size(build(case, "o-1", (), {"side": args[0]}), case.app.settings.max_payload)


def test_later_changes_by_the_caller_do_not_reach_the_test() -> None:
    sides = ["buy"]
    kwargs: dict[str, Any] = {"sides": sides, "side": "buy"}
    test = build(case, "o-1", (sides,), kwargs)
    sides.append("sell")
    kwargs["side"] = "sell"
    assert (test.test_args, test.test_kwargs) == ([["buy"]], {"sides": ["buy"], "side": "buy"})


def test_execution_records_the_span_of_its_trigger() -> None:
    app = Celery("shop", broker="redis://nowhere:6379/0", set_as_current=False)
    case = LiveCheck(app).add_case(Case, name="shop.test_order")
    assert build(case).traceparent is None
    with TracerProvider(shutdown_on_exit=False).get_tracer("shop").start_as_current_span("POST /order"):
        assert build(case).traceparent == traceparent() is not None


def test_id_over_the_limit_is_refused() -> None:
    assert build(case, "x" * 512).id == "x" * 512
    with pytest.raises(InvalidPayload, match="the id 'x+ … is 513 characters, over the limit of 512"):
        build(case, "x" * 513)


class Unprintable:
    def __str__(self) -> str:
        raise ZeroDivisionError("no text")


def test_id_without_a_text_is_refused() -> None:
    with pytest.raises(InvalidPayload) as raised:
        build(case, Unprintable())
    assert str(raised.value) == (
        "case shop.test_order: the id is of class Unprintable, whose str() raises ZeroDivisionError: "
        "no text; give it as text"
    )


@pytest.mark.parametrize(
    ("given", "test_id"),
    [(0, "0"), (True, "True"), (math.nan, "nan"), (b"o-1", "b'o-1'"), ("a\nb", "a\nb"), ("\udce9", "\\udce9")],
)
def test_id_is_the_text_of_any_value(given: object, test_id: str) -> None:
    assert build(case, given).id == test_id


@pytest.mark.parametrize("given", ["x" * 513, 10**512])
def test_long_id_is_refused(given: object) -> None:
    with pytest.raises(InvalidPayload, match=r"^case shop.test_order: the id '[x10]{39} … is 513 characters, over the"):
        build(case, given)
