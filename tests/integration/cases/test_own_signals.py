"""Signals of an application's own: an implementation of `BaseSignal`, and subclasses of `Signal`; in both faces."""

from __future__ import annotations

from typing import Any

import pytest

from livecheck_celery import BaseSignal, ConfigurationError, InvalidPayload, SignalEvent, State, aio
from tests.helpers.faces import Face, execute

NAME = "shop.test_order"


class Stored(BaseSignal[int]):
    """Keeps its events in this process, and waits for nothing."""

    events: dict[Any, Any]

    def send(self, value: int | None = None, *, key: Any = None, force: bool = False) -> None:
        self.events[key] = value


class InMemory(Stored):
    def wait(self, *, key: Any = None, timeout: Any = None) -> int:
        return self.decode(self.events[key])

    def resolve(self, key: Any, event: SignalEvent) -> None:
        self.events[key] = event


class AwaitedInMemory(Stored):
    async def wait(self, *, key: Any = None, timeout: Any = None) -> int:  # noqa: ASYNC109 - the reference's
        return self.decode(self.events[key])

    async def resolve(self, key: Any, event: SignalEvent) -> None:
        self.events[key] = event


@pytest.fixture
def kind(face: Face, monkeypatch: pytest.MonkeyPatch) -> type[Stored]:
    """The own implementation, for the face."""
    kind: type[Stored] = AwaitedInMemory if face.is_async else InMemory
    monkeypatch.setattr(kind, "events", {}, raising=False)
    return kind


@pytest.mark.promise("A class of your own that has `send`, `wait` and `resolve` is a signal.", theme="signals")
@pytest.mark.parametrize("how", ["annotated", "assigned", "given"])
def test_own_implementation_is_sent_resolved_and_awaited(face: Face, faced: Any, kind: Any, how: str) -> None:
    async def async_run(self: Any) -> None:
        assert await self.stored.wait(key="o-1") == 7

    def run(self: Any) -> None:
        assert self.stored.wait(key="o-1") == 7

    attributes = {"annotated": {"__annotations__": {"stored": kind}}, "assigned": {"stored": kind()}, "given": {}}[how]
    cls = type("test_order", (face.Case,), {"run": async_run if face.is_async else run, **attributes})
    case = faced.add_case(cls, name=NAME, signals=[kind("stored")] if how == "given" else None)

    assert type(case.stored) is kind
    assert (case.stored.name, case.stored.index, case.stored.case) == ("stored", 1, case)
    face.call(faced, case.resolve_signal, "o-1", SignalEvent("stored", NAME, "o-1", 7))
    assert case.stored.events["o-1"].value == 7, "resolve() of the signal got the event as it is"
    runner = execute(case)
    assert runner.state is State.PASS, runner.error


@pytest.mark.parametrize("method", ["send", "wait", "resolve"])
def test_method_that_is_not_implemented_names_the_class(faced: Any, method: str) -> None:
    class Half(BaseSignal[int]): ...

    arguments = {"resolve": ("o-1", SignalEvent("half", NAME, "o-1"))}.get(method, ())
    with pytest.raises(NotImplementedError, match=rf"Half has no {method}\(\)"):
        getattr(Half("half"), method)(*arguments)


def test_interface_itself_is_refused(face: Face, faced: Any) -> None:
    with pytest.raises(
        ConfigurationError, match="signal stored: BaseSignal is an interface; use Signal, or a subclass"
    ):
        faced.add_case(type("test_order", (face.Case,), {"__annotations__": {"stored": BaseSignal[int]}}), name=NAME)


def priced(face: Face) -> Any:
    """A subclass of the face's `Signal` with an argument of its own."""

    class Priced(face.Signal[int]):
        def __init__(self, *args: Any, currency: str = "EUR", **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._currency = currency

        @property
        def currency(self) -> str:
            return self._currency

    return Priced


def test_subclass_with_arguments_is_declared_in_each_way(face: Face, faced: Any) -> None:
    kind = priced(face)

    @face.method
    def run(self: Any) -> None: ...

    noted = kind("noted", currency="GBP")
    noted.note = "set later"
    attributes = {"price": kind(currency="USD"), "__annotations__": {"tax": kind}, "run": run}
    case = faced.add_case(type("test_order", (face.Case,), attributes), name=NAME, signals=[noted])

    declared = [(each.name, each.index, each.currency, each.value_type) for each in case.signals.values()]
    assert declared == [("tax", 1, "EUR", int), ("price", 2, "USD", int), ("noted", 3, "GBP", int)]
    assert {type(each) for each in case.signals.values()} == {kind}
    assert case.noted.note == "set later"
    assert case.noted is not noted, "two cases can be made with one signal"


@pytest.mark.parametrize("position", [(), ("sent",)])
def test_clone_takes_overrides_of_all_arguments(face: Face, position: tuple[str, ...]) -> None:
    signal = priced(face)(*position, currency="USD", times=3)
    signal.note = "kept"
    plain = signal.clone()
    assert (plain.name, plain.index, plain.currency, plain.times) == (signal.name, -1, "USD", 3)
    assert plain.note == "kept"
    other = signal.clone(name="other", index=4, currency="GBP", times=1, value_type=str)
    assert (other.name, other.index, other.currency, other.times, other.value_type) == ("other", 4, "GBP", 1, str)
    assert (signal.name, signal.index, signal.currency, signal.times) == ("".join(position), -1, "USD", 3)


def test_clone_asks_asdict_as_in_the_reference(face: Face) -> None:
    class Tagged(face.Signal[int]):
        def __init__(self, name: str = "", case: Any = None, index: int = -1, tag: str = "") -> None:
            super().__init__(name, case, index)
            self.tag = tag

        def _asdict(self, **kwargs: Any) -> dict[str, Any]:
            return {**super()._asdict(**kwargs), "tag": f"{self.tag}'"}

    assert Tagged("sent", None, 2, "a").clone().tag == "a'"


def test_signal_that_cannot_be_made_or_copied_is_named(face: Face, faced: Any) -> None:
    class Demanding(face.Signal[int]):
        def __init__(self, *args: Any, currency: str, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)

    class Closed(face.Signal[int]):
        def __init__(self) -> None:
            super().__init__()

    annotated = type("test_order", (face.Case,), {"__annotations__": {"price": Demanding}})
    with pytest.raises(ConfigurationError, match="signal price: .*Demanding.* cannot be made: .*'currency'"):
        faced.add_case(annotated, name=NAME)
    with pytest.raises(ConfigurationError, match="signal price: Closed cannot be copied: TypeError"):
        faced.add_case(type("test_order", (face.Case,), {"price": Closed()}), name=NAME)
    case = faced.add_case(annotated, name=NAME, signals=[Demanding("price", currency="EUR")])
    assert case.price.index == 1


def test_event_is_resolved_with_a_plain_value(face: Face, faced: Any) -> None:
    async def async_run(self: Any) -> None:
        assert (await self.sent.wait(timeout=5), await self.text.wait(timeout=5)) == (7, '"7"')
        assert await self.bare.wait(timeout=5) == "1234"

    def run(self: Any) -> None:
        assert (self.sent.wait(timeout=5), self.text.wait(timeout=5)) == (7, '"7"')
        assert self.bare.wait(timeout=5) == "1234"

    hints = {"sent": face.Signal[int], "text": face.Signal[str], "bare": face.Signal}
    attributes = {"run": async_run if face.is_async else run, "__annotations__": hints}
    case = faced.add_case(type("test_order", (face.Case,), attributes), name=NAME)
    for name, value in (("sent", 7), ("text", '"7"'), ("bare", "1234")):
        face.call(faced, case.resolve_signal, "o-1", SignalEvent(name, NAME, "o-1", value))
    runner = execute(case)
    assert runner.state is State.PASS, runner.error


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("seven", "signal sent (1 of 1): value is not of type int: Input should be a valid integer"),
        (None, "signal sent (1 of 1): value is not of type int: Input should be a valid integer"),
        (object(), "signal sent (1 of 1): value cannot be sent as JSON: "),
        ("x" * 100_000, "signal sent (1 of 1): value is 100002 bytes, over the limit of 65536"),
    ],
)
def test_event_with_another_value_is_refused(face: Face, faced: Any, value: Any, problem: str) -> None:
    case = faced.add_case(type("test_order", (face.Case,), {"__annotations__": {"sent": face.Signal[int]}}), name=NAME)
    with pytest.raises(InvalidPayload) as caught:
        face.call(faced, case.resolve_signal, "o-1", SignalEvent("sent", NAME, "o-1", value))
    assert str(caught.value).startswith(problem)
    assert "\n" not in str(caught.value)


def test_classes_of_a_livecheck_can_be_annotations_bases_and_its_own(face: Face, redis_url: str) -> None:
    class OwnSignal(face.Signal[int]): ...

    class OwnCase(face.Case):
        extra = 3

    class OwnLiveCheck(face.LiveCheck):
        Case = OwnCase
        Signal = OwnSignal

    livecheck = face.livecheck(redis_url, OwnLiveCheck)

    @livecheck.case(name="derived")
    class derived(livecheck.Case):
        stored: livecheck.Signal

    @livecheck.case(name="mixed")
    class mixed:
        stored: livecheck.Signal

    try:
        for case in (derived, mixed):
            assert isinstance(case, OwnCase)
            assert (type(case.stored), case.stored.value_type) == (OwnSignal, int)
    finally:
        livecheck.close()


def test_interface_is_exported_by_both_faces() -> None:
    assert aio.BaseSignal is BaseSignal
