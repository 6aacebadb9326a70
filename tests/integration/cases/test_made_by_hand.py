"""Cases that are made by hand and added to a LiveCheck, as in the reference; in both faces."""

from __future__ import annotations

from typing import Any

import pytest

from livecheck_celery import BaseSignal, ConfigurationError, SignalEvent, State
from tests.helpers.faces import Face, execute

NAME = "shop.test_order"


@pytest.fixture
def kind(face: Face) -> Any:
    """A class of cases that annotates one of its two signals."""

    async def async_run(self: Any) -> None:
        assert (await self.sent.wait(timeout=5), await self.done.wait(timeout=5)) == (7, "yes")

    def run(self: Any) -> None:
        assert (self.sent.wait(timeout=5), self.done.wait(timeout=5)) == (7, "yes")

    attributes = {"run": async_run if face.is_async else run, "__annotations__": {"sent": face.Signal[int]}}
    return type("test_order", (face.Case,), attributes)


@pytest.mark.promise("A case that is made by hand is added by `livecheck.add_case(case)`, and runs.", theme="cases")
def test_case_made_by_hand_is_registered_and_runs(face: Face, faced: Any, kind: Any) -> None:
    made = kind(app=faced, name=NAME, signals=[face.Signal("done"), face.Signal("sent")], frequency=30, probability=0.2)
    assert faced.cases == {}
    assert faced.add_case(made) is made
    assert faced.cases == {NAME: made}
    assert [(each.name, each.index, each.value_type) for each in made.signals.values()] == [
        ("sent", 1, int),
        ("done", 2, Any),
    ], "the annotated name is one signal, first, with the type of the annotation"
    assert made.total_signals == 2
    assert (made.probability, made.frequency) == (0.2, 30.0)
    assert any(NAME in entry for entry in map(str, faced.app.conf.beat_schedule.values())), (
        "fake requests are scheduled"
    )
    for name, value in (("sent", 7), ("done", "yes")):
        face.call(faced, made.resolve_signal, "o-1", SignalEvent(name, NAME, "o-1", value))
    runner = execute(made)
    assert runner.state is State.PASS, runner.error


def test_annotation_gives_the_type_also_of_a_signal_with_another(face: Face, faced: Any, kind: Any) -> None:
    given = face.Signal[str]("sent", times=2)
    made = kind(app=faced, name=NAME, signals=[given])
    assert (made.sent.value_type, made.sent.times, made.total_signals) == (int, 2, 1)
    assert given.value_type is str, "the given one can be part of another case"


def test_assigned_and_given_signal_of_one_name_are_one(face: Face, faced: Any) -> None:
    cls = type("test_order", (face.Case,), {"stored": face.Signal[int]("order_stored")})
    made = cls(app=faced, name=NAME, signals=[face.Signal("order_stored", times=1)])
    assert list(made.signals) == ["order_stored"]
    assert made.stored is made.signals["order_stored"]
    assert (made.stored.value_type, made.stored.times) == (int, 1)


def test_two_signals_of_one_name_or_attribute_are_refused(face: Face, faced: Any) -> None:
    with pytest.raises(ConfigurationError, match="signal sent: another signal is named sent"):
        face.Case(app=faced, name=NAME, signals=[face.Signal("sent"), face.Signal("sent")])
    cls = type("test_order", (face.Case,), {"stored": face.Signal[int]("order_stored")})
    with pytest.raises(ConfigurationError, match="signal stored: another signal is named stored"):
        cls(app=faced, name=NAME, signals=[face.Signal("stored")])
    with pytest.raises(ConfigurationError, match="signals: 'sent' is not a signal"):
        face.Case(app=faced, name=NAME, signals=["sent"])
    with pytest.raises(ConfigurationError, match="signals: <Signal -1: sent> is not a list of signals"):
        face.Case(app=faced, name=NAME, signals=face.Signal("sent"))


def test_case_of_what_is_not_a_livecheck_is_refused(face: Face, faced: Any) -> None:
    for app in (None, faced.app):
        with pytest.raises(ConfigurationError, match=f"case {NAME}: app: .* is not a LiveCheck"):
            face.Case(app=app, name=NAME)


def test_signal_that_forgets_its_case_is_refused(face: Face, faced: Any) -> None:
    class Forgetful(face.Signal):
        def __init__(self, name: str = "sent", **kwargs: Any) -> None:
            self.name = name

    with pytest.raises(ConfigurationError, match="signal sent: Forgetful cannot be copied: .* super\\(\\).__init__"):
        face.Case(app=faced, name=NAME, signals=[Forgetful()])


def test_case_that_cannot_be_added_is_refused_in_one_line(face: Face, faced: Any, kind: Any, redis_url: str) -> None:
    made = faced.add_case(kind(app=faced, name=NAME))
    other = face.livecheck(redis_url)

    class Forgetful(face.Case):
        def __init__(self, **kwargs: Any) -> None:
            pass

    def refused(case: Any, problem: str, **options: Any) -> None:
        with pytest.raises(ConfigurationError) as caught:
            faced.add_case(case, **options)
        assert str(caught.value) == problem

    taken = f"case {NAME}: name: already registered; give one of the two another name="
    try:
        refused(made, taken)
        refused(kind(app=faced, name=NAME), taken)
        refused(kind(app=other, name="b"), "case b: was made for another LiveCheck; add it there, or give it this app=")
        refused(
            kind(app=faced, name="b"), "case b: is made already; give active, name to its class", name="c", active=1
        )
        refused("shop.test_order", "add_case(): 'shop.test_order' is neither a case nor the class of one")
        refused(
            kind(app=faced, name="a{b"),
            "case 'a{b': name: curly brackets are reserved; give it another name=",
        )
        refused(
            kind(app=faced, name=""),
            "case '': name: must be 1 to 512 printable characters; give it another name=",
        )
        refused(
            Forgetful(),
            f"case {Forgetful.__qualname__}: __init__ of the class must take keyword arguments and call "
            "super().__init__(**kwargs)",
        )
        assert faced.cases == {NAME: made}
    finally:
        other.close()


def test_case_made_by_hand_has_the_overrides_read_before(faced: Any, kind: Any) -> None:
    faced.add_case(kind, name="first").override(probability=0.25)
    faced.runtime.store.registry.override(NAME, {"probability": 0.5})
    faced.runtime.shared_config.refresh()
    assert faced.add_case(kind(app=faced, name=NAME)).probability == 0.5


@pytest.mark.parametrize("method", ["send", "wait", "resolve"])
def test_sync_case_refuses_a_signal_with_a_coroutine(face: Face, faced: Any, method: str) -> None:
    async def implement(self: Any, *_: Any, **__: Any) -> int:
        return 14

    kind: Any = type("Remembered", (BaseSignal,), {method: implement})
    if face.is_async:
        assert list(face.Case(app=faced, name=NAME, signals=[kind("sent")]).signals) == ["sent"]
    else:
        with pytest.raises(ConfigurationError, match=rf"case {NAME}: signal sent: {method}\(\) is async def, which"):
            face.Case(app=faced, name=NAME, signals=[kind("sent")])
