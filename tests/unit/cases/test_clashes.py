"""Declarations that clash with the attributes of a case, and classes that cannot be cases."""

from __future__ import annotations

import abc
import dataclasses
import enum
import inspect
from typing import Any, NamedTuple

import pytest
from celery import Celery

from livecheck_celery import BaseSignal, Case, ConfigurationError, LiveCheck, Signal, TestRunner, aio
from livecheck_celery.cases import clashes
from livecheck_celery.cases.clashes import _INTERNAL
from livecheck_celery.context import under_test
from tests.helpers.factories import make_test

#: Every attribute of a case, public and private, of the class and of instances.
ATTRIBUTES = sorted({*dir(Case), *vars(Case(app=LiveCheck(Celery("x", set_as_current=False)), name="c"))})


@pytest.fixture
def livecheck() -> LiveCheck:
    return LiveCheck(Celery("shop", broker="redis://localhost:1/0", set_as_current=False))


def refused(livecheck: LiveCheck, cls: Any, problem: str, **options: Any) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        livecheck.case(name="c", **options)(cls)
    assert "\n" not in str(caught.value)
    assert livecheck.cases == {}


@pytest.mark.promise(
    "A declaration that clashes with an attribute of cases is an error that names both.", theme="cases"
)
@pytest.mark.parametrize("how", ["annotated", "assigned", "argument"])
@pytest.mark.parametrize("name", ATTRIBUTES)
def test_signal_cannot_have_the_name_of_an_attribute_of_cases(livecheck: LiveCheck, name: str, how: str) -> None:
    problem = f"^case c: signal {name}: every case has an attribute of that name; rename the signal$"
    if how == "argument":
        refused(livecheck, type("c", (), {}), problem, signals=[Signal(name)])
    elif how == "annotated":
        if name in ("__annotations__", "__class__", "__dict__", "__module__", "__doc__", "__weakref__", "__slots__"):
            return
        refused(livecheck, type("c", (), {"__annotations__": {name: Signal[int]}}), problem)
    elif not (name.startswith("__") and name.endswith("__")):  # Python itself uses those
        refused(livecheck, type("c", (), {name: Signal()}), problem)


def test_class_of_many_cases_is_checked_again_only_when_it_has_changed(
    livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    check = clashes.check_methods
    monkeypatch.setattr(clashes, "check_methods", lambda *args: [checked.append(args[1]), check(*args)])
    cls = type("c", (Case,), {})
    for number in range(3):
        livecheck.add_case(cls, name=f"c_{number}")
    assert checked == ["c_0"]
    cls.on_test_pass = lambda self: None
    with pytest.raises(ConfigurationError, match=r"on_test_pass\(\) is called as on_test_pass\(runner\)"):
        livecheck.add_case(cls, name="c_3")


@pytest.mark.parametrize("name", sorted(_INTERNAL))
def test_helper_method_cannot_replace_a_method_that_livecheck_calls(livecheck: LiveCheck, name: str) -> None:
    cls = type("c", (), {name: lambda self, order: order})
    refused(livecheck, cls, f"^case c: attribute {name} of c replaces a method that LiveCheck calls; rename it$")


@pytest.mark.parametrize("name", [5, b"c", ("c",)])
def test_name_that_is_not_text_is_refused(livecheck: LiveCheck, name: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^case .*: name: must be text; give it another name=$"):
        livecheck.case(name=name)(type("c", (), {}))


def test_every_attribute_of_a_case_was_tried() -> None:
    assert {"name", "app", "active", "trigger", "run", "log", "execute", "probability", "status", "signals"} < {
        *ATTRIBUTES
    }
    assert {"frequency", "_given", "_declared", "exit_stack", "diag", "total_signals", "Runner"} < {*ATTRIBUTES}


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("status", "open", "hides the value that every case reads from Redis"),
        ("runtime_history", [], "hides the value"),
        ("total_by_state", property(lambda self: {}), "hides the value"),
        ("name", "shop.order", r"is not the name of the case; give the name as @livecheck.case\(name=...\)"),
        ("signals", {}, "is replaced when the case is created"),
        ("log", None, "is replaced when the case is created"),
        ("app", None, "is replaced when the case is created"),
        ("total_signals", 3, "is replaced when the case is created"),
        ("run", 5, "replaces a method of every case, but is not callable"),
        ("trigger", "now", "replaces a method of every case, but is not callable"),
        ("maybe_trigger", None, "replaces a method of every case, but is not callable"),
        ("on_test_pass", None, "replaces a method of every case, but is not callable"),
        ("url_settings", {}, "replaces a method of every case, but is not callable"),
        ("_given", (), "replaces a private attribute of every case"),
        ("_signal_of", lambda self, name: None, "replaces a private attribute of every case"),
        ("Runner", 5, "must be a subclass of TestRunner"),
        ("Runner", int, "must be a subclass of TestRunner"),
    ],
)
@pytest.mark.parametrize("inherits", [False, True])
def test_attribute_that_clashes_is_named(
    livecheck: LiveCheck, name: str, value: Any, problem: str, inherits: bool
) -> None:
    bases = (type("Base", (Case,), {name: value}),) if inherits else ()
    refused(
        livecheck, type("c", bases, {} if inherits else {name: value}), f"^case c: attribute {name} of \\w+ {problem}"
    )


def test_what_a_case_can_override_is_accepted(livecheck: LiveCheck) -> None:
    class Own(TestRunner): ...

    @livecheck.case(name="c")
    class c:
        Runner = Own
        probability = 0.5
        helper = "free"
        _own = 1
        run = staticmethod(print)

        @property
        def label(self) -> str:
            return "mine"

        def maybe_trigger(self, *args: Any) -> Any: ...

        def get_url(self, url: str, **kwargs: Any) -> bytes:
            return b""

    assert (c.label, c._own, c.helper, c.get_url("x")) == ("mine", 1, "free", b"")


def test_signal_is_the_attribute_and_is_sent_by_its_name(livecheck: LiveCheck) -> None:
    @livecheck.case(name="c")
    class c:
        first: Signal[int] = Signal("renamed")
        second = Signal("other.name")
        third: Signal[int]

    assert list(c.signals) == ["renamed", "third", "other.name"]
    assert c.first is c.signals["renamed"]
    assert c.second is c.signals["other.name"]
    assert c.third is c.signals["third"]
    assert (c.first.case, c.first.value_type, c.first.name) == (c, int, "renamed")
    with under_test(make_test(case_name="c")):
        c.first.send(3)


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"a": Signal("same"), "b": Signal("same")}, "^case c: signal b: another signal is named same$"),
        ({"a": Signal("b"), "b": Signal()}, "^case c: signal b: another signal is named b$"),
        ({"a": Signal(">a")}, "^case c: signal a: the name '>a' is not a printable text"),
        ({"a": Signal("x\ny")}, "^case c: signal a: the name 'x.ny' is not a printable text"),
        ({"a": Signal("caf\udce9")}, "^case c: signal a: the name .* is not a printable text"),
        ({"a": Signal("x" * 600)}, "^case c: signal a: the name .* of at most 512"),
        ({"a": Signal(7)}, "^case c: signal a: the name 7 is not a printable text"),
    ],
)
def test_invalid_name_of_a_signal_is_refused(livecheck: LiveCheck, attributes: dict[str, Any], problem: str) -> None:
    refused(livecheck, type("c", (), attributes), problem)


def test_signal_cannot_replace_a_method_of_a_base(livecheck: LiveCheck) -> None:
    class Base(Case):
        def helper(self) -> None: ...

    class c(Base):
        helper: Signal[int]

    refused(livecheck, c, "^case c: signal helper: the class has another attribute of that name")


class Undecorated:
    stored: Signal[int] = Signal()


class UndecoratedCase(Case):
    filled: Signal[int]


@pytest.mark.parametrize("signal", [Undecorated.stored, UndecoratedCase.filled], ids=lambda signal: signal.name)
def test_signal_of_an_undecorated_class_is_logged_and_raises_nothing(
    signal: Signal[int], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        signal.send(1)
        with under_test(make_test()):
            signal.send(2, key="k")
    [line] = caplog.messages
    assert line == (
        f"signal {signal.name}: its class is not registered as a case; decorate it with @livecheck.case(); "
        "dropping its values"
    )


def test_maybe_trigger_of_an_undecorated_class_is_logged_and_raises_nothing(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        with UndecoratedCase.maybe_trigger("o-1") as test:
            assert test is None
    [line] = caplog.messages
    assert line == (
        "case UndecoratedCase: maybe_trigger() failed; continuing without a test: "
        "class UndecoratedCase is not registered as a case; decorate it with @livecheck.case()"
    )


@pytest.mark.parametrize("trigger", ["__call__", "delay", "apply_async", "s", "si"])
def test_trigger_of_an_undecorated_class_says_so(trigger: str) -> None:
    with pytest.raises(ConfigurationError, match="^class UndecoratedCase is not registered as a case; decorate it"):
        getattr(UndecoratedCase.trigger, trigger)()


def test_class_that_inherits_from_a_case_is_refused(livecheck: LiveCheck) -> None:
    a_case = livecheck.case(name="a")(type("a", (), {}))
    with pytest.raises(
        ConfigurationError, match="^case a: is not a class; inherit from a class that is not decorated$"
    ):

        class B(a_case): ...


def test_second_decorator_is_refused(livecheck: LiveCheck) -> None:
    a_case = livecheck.case(name="a")(type("a", (), {}))
    with pytest.raises(ConfigurationError, match="^case a: is decorated twice"):
        livecheck.case(a_case)
    with pytest.raises(ConfigurationError, match="^case a: is decorated twice"):
        livecheck.case(name="b")(a_case)


@pytest.mark.parametrize("given", ["shop.order", print, 5, lambda: None])
def test_only_a_class_can_be_decorated(livecheck: LiveCheck, given: Any) -> None:
    with pytest.raises(
        ConfigurationError, match="^case: .* is not a class; decorate a class, and give a name as name="
    ):
        livecheck.case(given)


@dataclasses.dataclass
class Data:
    side: str = "sell"


@dataclasses.dataclass(frozen=True, init=False)
class Frozen:
    side: str = "sell"


class Abstract(abc.ABC):
    @abc.abstractmethod
    def later(self) -> None: ...


class WithInit:
    def __init__(self, order: int) -> None: ...


class WithInitOfNothing:
    def __init__(self) -> None: ...


class SwallowingInit:
    def __init__(self, **kwargs: Any) -> None: ...


class RaisingMeta(type):
    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("not so")


class Raising(metaclass=RaisingMeta): ...


class Demanding:
    def __init_subclass__(cls, *, kind: str) -> None: ...


class Color(enum.Enum):
    RED = 1


class Pair(NamedTuple):
    a: int


class Slotted:
    __slots__ = ("status",)


@pytest.mark.parametrize(
    "cls",
    [
        Data,
        Abstract,
        WithInit,
        WithInitOfNothing,
        SwallowingInit,
        Raising,
        Demanding,
        Color,
        Pair,
        Slotted,
        int,
        bool,
    ],
)
def test_class_that_cannot_be_a_case_is_refused_in_one_line(livecheck: LiveCheck, cls: type) -> None:
    refused(livecheck, cls, "^case (c|Demanding|Color|bool): ")


def test_init_that_passes_its_arguments_on_is_accepted(livecheck: LiveCheck) -> None:
    class Base(Case):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.orders = 0

    class Mixed:
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.orders = 1

    assert livecheck.case(name="a", probability=0.25)(Base).orders == 0
    assert livecheck.case(name="b", url_timeout_total=None)(Mixed).orders == 1
    assert livecheck.cases["a"].probability == 0.25
    assert livecheck.cases["b"].url_timeout_total is None


class Concrete(Abstract):
    def later(self) -> None: ...


class SlottedWell:
    __slots__ = ("orders",)


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError

    def __bool__(self) -> bool:
        return False

    def __len__(self) -> int:
        return 0


@pytest.mark.parametrize("cls", [Concrete, Frozen, SlottedWell, Unhashable])
def test_unusual_class_is_a_case(livecheck: LiveCheck, cls: type) -> None:
    case = livecheck.case(name="c", frequency=30)(cls)
    assert livecheck.cases["c"] is case
    livecheck.app.loader.import_default_modules()
    assert livecheck.app.conf.beat_schedule["livecheck:c:frequency"]["kwargs"]["livecheck_case"] == "c"
    assert inspect.isclass(type(case))


class Own(BaseSignal[int]):
    """An own implementation, of either face."""

    def send(self, *args: Any, **kwargs: Any) -> None: ...
    def wait(self, *args: Any, **kwargs: Any) -> None: ...
    def resolve(self, *args: Any) -> None: ...


@pytest.mark.parametrize("how", ["assigned", "annotated", "given"])
def test_signal_of_the_other_face_is_refused(livecheck: LiveCheck, how: str) -> None:
    for case, signal, problem in (
        (Case, aio.Signal, "is a Signal of livecheck_celery.aio; a case of livecheck_celery needs its Signal"),
        (aio.Case, Signal, "is a Signal of livecheck_celery; a case of livecheck_celery.aio needs its Signal"),
    ):
        declared = {"assigned": {"sent": signal()}, "annotated": {"__annotations__": {"sent": signal}}}.get(how, {})
        options = {"signals": [signal("sent")]} if how == "given" else {}
        with pytest.raises(ConfigurationError) as caught:
            livecheck.add_case(type("test_order", (case,), declared), name="shop.test_order", **options)
        assert str(caught.value) == f"case shop.test_order: signal sent: {problem}"
        livecheck.add_case(type("test_order", (case,), {"sent": Own()}), name=f"shop.{case.__module__}")
