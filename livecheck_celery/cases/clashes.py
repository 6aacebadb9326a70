"""Attributes of a class that would replace those of a case, or that would be replaced by them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from typing import Any, Final
from weakref import WeakKeyDictionary

from livecheck_celery.cases.base_signal import BaseSignal
from livecheck_celery.cases.descriptors import SuiteAttribute
from livecheck_celery.cases.methods import check_methods
from livecheck_celery.cases.runner_class import check_runner, must_be
from livecheck_celery.errors import ConfigurationError
from livecheck_celery.execution.runner import BaseRunner
from livecheck_celery.utils.sanitize import is_printable

#: Longest name of a signal, in characters.
_MAX_NAME: Final = 512
_MISSING: Final = object()
#: Methods of a case that LiveCheck calls, and that are not part of the reference: a helper method can have such a name.
_INTERNAL: Final = frozenset(
    {
        "apply_overrides",
        "describe",
        "execute_here",
        "execute_on_worker",
        "face_runner",
        "fail_suite_by",
        "make_runner",
        "run_hook",
        "runner_resources",
        "statistics",
        "thread_driver",
    }
)


def check_attributes(cls: type, case_name: str, base: type) -> None:
    """Check that ``cls`` overrides of ``base``, the class of all cases, only options and methods.

    Raises:
        ConfigurationError: a method has a ``yield`` or other arguments than LiveCheck gives it, or is replaced by
            something that cannot be called; or an attribute hides a live value or a private attribute of the case, or
            would be replaced by the case; or the class of the runners cannot be used.
    """
    own, found = list(_own_classes(cls, base)), _content(cls, base)
    if _checked.get(cls) != found:
        _check_own(cls, own, case_name, base)
        _checked[cls] = found
    check_runner(case_name, getattr(cls, "Runner", None), _face_runner(base))


def _check_own(cls: type, own: Sequence[type], case_name: str, base: type) -> None:
    check_methods(cls, case_name, base)
    for one in own:
        for name, value in vars(one).items():
            if isinstance(value, BaseSignal):
                check_signal(name, value, cls, case_name, base)
            elif name in _names(base) and (problem := _problem(base, name, value)):
                raise ConfigurationError(f"case {case_name}: attribute {name} of {one.__qualname__} {problem}")


def _content(cls: type, base: type) -> tuple[Any, ...]:
    """Return what `_check_own` depends on, without a reference to it, which would keep the class alive."""
    classes = [*_own_classes(cls, base), base]
    return tuple((id(one), tuple((name, id(value)) for name, value in vars(one).items())) for one in classes)


def check_signal(attribute: str, signal: BaseSignal[Any], cls: type, case_name: str, base: type) -> None:
    """Check the names of a signal of ``cls``: that of its attribute, and the one by which it is sent; and its face.

    Raises:
        ConfigurationError: the attribute is one of every case, or of ``cls``; the name is not a printable text; or the
            signal is one of the other face.
    """
    if attribute in _names(base):
        raise ConfigurationError(
            f"case {case_name}: signal {attribute}: every case has an attribute of that name; rename the signal"
        )
    if not isinstance(inspect.getattr_static(cls, attribute, signal), BaseSignal):
        raise ConfigurationError(
            f"case {case_name}: signal {attribute}: the class has another attribute of that name; rename one of the two"
        )
    is_awaited = "run" in _coroutines(base, ("run",))
    if signal.is_awaited is not None and signal.is_awaited is not is_awaited:
        given, wanted = ("livecheck_celery", "livecheck_celery.aio")[:: 1 if is_awaited else -1]
        raise ConfigurationError(
            f"case {case_name}: signal {attribute}: is a Signal of {given}; a case of {wanted} needs its Signal"
        )
    kind: Any = type(signal)
    for method in () if is_awaited else _coroutines(kind, ("send", "wait", "resolve")):
        raise ConfigurationError(
            f"case {case_name}: signal {attribute}: {method}() is async def, which this face does not await; cases "
            "with async def are those of livecheck_celery.aio"
        )
    name = signal.name
    if not name:
        raise ConfigurationError(f"case {case_name}: a signal has no name")
    if not isinstance(name, str) or not is_printable(name) or len(name) > _MAX_NAME or name[0] == ">":
        raise ConfigurationError(
            f"case {case_name}: signal {attribute}: the name {name!r:.100} is not a printable text of at most "
            f"{_MAX_NAME} characters that begins with another character than '>'"
        )


def _problem(base: type, name: str, value: Any) -> str:
    inherited = inspect.getattr_static(base, name, _MISSING)
    problem = ""
    if name.startswith("_"):
        problem = "" if name.startswith("__") else "replaces a private attribute of every case; rename it"
    elif name == "name":
        problem = "is not the name of the case; give the name as @livecheck.case(name=...)"
    elif isinstance(inherited, SuiteAttribute):
        problem = "hides the value that every case reads from Redis; rename it"
    elif inherited is _MISSING:
        problem = "is replaced when the case is created; rename it"
    elif name in _INTERNAL:
        problem = "replaces a method that LiveCheck calls; rename it"
    elif isinstance(inherited, type):
        if not (isinstance(value, type) and issubclass(value, _face_runner(base))):
            problem = must_be(_face_runner(base))
    elif _is_method(inherited) and not _is_method(value):
        problem = "replaces a method of every case, but is not callable; rename it"
    return problem


def _face_runner(base: type) -> type[BaseRunner]:
    """Return the runner of a face, also if another one was set on the class of all cases."""
    runner: type[BaseRunner] = base.face_runner  # type: ignore[attr-defined] # of each class of all cases
    return runner


def _is_method(value: Any) -> bool:
    return callable(value) or hasattr(value, "__get__")


def _own_classes(cls: type, base: type) -> Iterator[type]:
    return (one for one in cls.__mro__ if not issubclass(base, one))


#: The content of each class that was checked: thousands of cases can be of one class.
_checked: WeakKeyDictionary[type, tuple[Any, ...]] = WeakKeyDictionary()


@lru_cache(maxsize=64)
def _coroutines(cls: Any, names: tuple[str, ...]) -> list[str]:
    """Return those of the methods that are coroutine functions."""
    return [name for name in names if inspect.iscoroutinefunction(getattr(cls, name))]


@cache
def _names(base: type) -> frozenset[str]:
    """Return the attributes of ``base``, and of its instances: their annotations say which."""
    annotated = (name for one in base.__mro__ for name in inspect.get_annotations(one))
    return frozenset({*dir(base), *annotated})
