"""The class of a case's runners: what is refused at the declaration, and what happens to one that cannot be made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from livecheck_celery import ConfigurationError, State
from livecheck_celery.cases.arguments import build
from tests.helpers.faces import AIO, SYNC, Face
from tests.helpers.order_case import outcomes
from tests.helpers.written_once import declare


async def run(self: Any) -> None: ...


async def none(self: Any) -> None: ...


def generator(self: Any) -> Iterator[int]:
    yield 1


def of(face: Face, **body: Any) -> type:
    """Return a Runner of ``face``."""
    return type("MyRunner", (face.Case.face_runner,), body)


def no_arguments(self: Any) -> None: ...


def hook(face: Face, name: str, *, of_face: bool) -> Any:
    """Return a hook without arguments, of the face or of the other one."""
    wanted: Any = none if face.is_async is of_face else no_arguments
    return type(wanted)(wanted.__code__.replace(co_name=name), {}, name)


PROBLEMS: dict[str, tuple[Any, str]] = {
    "arguments": (
        lambda face: of(face, on_failed=hook(face, "on_failed", of_face=True)),
        r"on_failed\(\) is called as on_failed\(exc\)",
    ),
    "of a wait": (
        lambda face: of(face, on_signal_wait=hook(face, "on_signal_wait", of_face=True)),
        r"is called as on_signal_wait\(signal, timeout\)",
    ),
    "face": (lambda face: of(face, on_pass=hook(face, "on_pass", of_face=False)), r"on_pass\(\) .* async def"),
    "end": (lambda face: of(face, end=none), r"end\(\) is async def"),
    "yield": (lambda face: of(face, on_pass=generator), r"on_pass\(\) has a yield"),
    "internal": (lambda face: of(face, overrun=no_arguments), "overrun replaces what LiveCheck uses"),
    "constructor": (lambda face: of(face, __init__=no_arguments), r"is made as MyRunner\(case, test, started"),
    "other class": (lambda face: of(SYNC if face.is_async else AIO), "must be a subclass of TestRunner of livecheck"),
    "any class": (lambda face: int, "must be a subclass of TestRunner"),
}


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("where", ["case", "face"])
def test_runner_that_cannot_be_used_is_refused(
    faced: Any, face: Face, problem: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, text = PROBLEMS[problem]
    if where == "face":
        monkeypatch.setattr(face.Case, "Runner", make(face))
    with pytest.raises(ConfigurationError, match=text) as caught:
        declare(faced, face, run=run, **({"Runner": make(face)} if where == "case" else {}))
    assert str(caught.value).startswith("case shop.test_order: ")
    assert "\n" not in str(caught.value)


def test_runner_of_all_cases_can_be_replaced_by_that_of_a_case(
    faced: Any, face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(face.Case, "Runner", of_all := of(face))
    own = of(face, helper=1)
    declared = [declare(faced, face, "c", run=run), declare(faced, face, "d", run=run, Runner=own)]
    assert [type(case.execute_here(build(case, "o-1"))) for case in declared] == [of_all, own]


def breaks(self: Any, case: Any, test: Any, started: float) -> None:
    raise KeyError("no settings")


def forgets_super(self: Any, case: Any, test: Any, started: float) -> None: ...


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"__init__": breaks}, "KeyError: 'no settings'"),
        ({"__init__": forgets_super}, "its __init__ must call super().__init__(case, test, started)"),
        ({"on_pass": generator}, "on_pass() has a yield"),
    ],
)
def test_runner_that_cannot_be_made_decides_nothing(
    faced: Any, face: Face, body: Any, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    case = declare(faced, face, run=run)
    case.Runner = of(face, **body)
    assert case.execute_here(build(case, "o-1")).state is State.PASS
    assert outcomes(case) == [(State.PASS, None)]
    [line] = [each for each in caplog.messages if "cannot be used; using TestRunner" in each]
    assert problem in line
