"""Call ``run()`` with the arguments of a test, converted from JSON to the types of its annotations."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple, get_type_hints
from weakref import WeakKeyDictionary

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from livecheck_celery.errors import LiveCheckTestFailed
from livecheck_celery.models import TestExecution
from livecheck_celery.utils.annotations import signature_of
from livecheck_celery.utils.sanitize import get_logger, type_and_message
from livecheck_celery.utils.signal_handlers import reraise_from_handler
from livecheck_celery.utils.throttle import ThrottledLogger
from livecheck_celery.utils.type_adapters import adapter_of, name_of_type
from livecheck_celery.utils.validation import explain

throttled: Final = ThrottledLogger(get_logger(__name__))


def call_run(run: Callable[..., Any], test: TestExecution) -> Any:
    """Call ``run()`` with the arguments of ``test``, each converted to the type of its annotation; return its result.

    An argument has JSON types if it has no annotation, or one that cannot be evaluated or read from JSON. An argument
    that equals its default value is not converted if it is not of the type. If a decorator of ``run()`` takes other
    arguments than ``run()``, it gets all of them as JSON types.

    Raises:
        LiveCheckTestFailed: an argument is missing, is not one of ``run()``, or is not of its type.
    """
    plan = _plan_of(run, test.case_name)
    if plan is None or (bound := _bind(plan, test)) is None:
        return run(*test.test_args, **test.test_kwargs)
    for name, adapter in plan.adapters.items():
        if name not in bound.arguments:
            continue
        value, parameter = bound.arguments[name], plan.signature.parameters[name]
        kind = parameter.kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            values = enumerate(value)
            bound.arguments[name] = tuple(_typed(f"{name}[{place}]", adapter, each) for place, each in values)
        elif kind is inspect.Parameter.VAR_KEYWORD:
            bound.arguments[name] = {each: _typed(each, adapter, value[each]) for each in value}
        else:
            bound.arguments[name] = _typed(name, adapter, value, parameter.default)
    return run(*bound.args, **bound.kwargs)


class _Plan(NamedTuple):
    """How a ``run()`` is called.

    Attributes:
        signature: of the function, without decorators.
        outermost: of the decorated function.
        adapters: type and adapter of each argument that has a type, by name.
    """

    signature: inspect.Signature
    outermost: inspect.Signature
    adapters: dict[str, tuple[Any, TypeAdapter[Any]]]


#: By function, and whether it is bound; an adapter takes 0.3 ms to make, which coroutines would wait for.
_plans: Final[WeakKeyDictionary[Any, dict[bool, _Plan]]] = WeakKeyDictionary()


def _plan_of(run: Callable[..., Any], case_name: str) -> _Plan | None:
    function: Any = getattr(run, "__func__", run)
    is_bound = function is not run
    with suppress(TypeError):  # an object that is not hashable
        if found := _plans.get(function, {}).get(is_bound):
            return found
    try:
        signature, outermost = signature_of(run), signature_of(run, follow_wrapped=False)
    except (TypeError, ValueError):  # an object without a signature
        return None
    plan = _Plan(signature, outermost, {})
    is_complete = True
    for name, parameter in signature.parameters.items():
        try:
            hint = _evaluated(run, parameter.annotation)
            if hint not in (inspect.Parameter.empty, Any, object):
                plan.adapters[name] = hint, adapter_of(hint, None)
        except Exception as exc:  # noqa: BLE001 - an annotation is the user's, and can raise anything
            reraise_from_handler(exc)
            is_complete = False
            _warn(case_name, name, parameter.annotation, exc)
    if is_complete:
        with suppress(TypeError):
            _plans.setdefault(function, {})[is_bound] = plan
    return plan


def _warn(case_name: str, name: str, annotation: Any, error: Exception) -> None:
    text = annotation if isinstance(annotation, str) else name_of_type(annotation)
    reason = type_and_message(error).partition("\n")[0]
    line = "runner: case %s: run(): argument %s has JSON types, since its type %s cannot be used: %s"
    throttled.warning(line, case_name, name, text, reason, key=f"{case_name} {name}")


def _bind(plan: _Plan, test: TestExecution) -> inspect.BoundArguments | None:
    """Return the arguments of ``test`` by name; None if ``run()`` must be called to know whether it takes them."""
    try:
        return plan.signature.bind(*test.test_args, **test.test_kwargs)
    except TypeError as exc:
        if plan.outermost != plan.signature and _takes(plan.outermost, test):  # a decorator adds or removes arguments
            return None
        given = f"{len(test.test_args)} by position" + "".join(f", {name}" for name in test.test_kwargs)
        takes = ", ".join(plan.signature.parameters) or "none"
        # From None: the error is one of the trigger, and its frames are LiveCheck's.
        raise LiveCheckTestFailed(f"run(): {exc}; given: {given}; run() takes: {takes}") from None


def _takes(signature: inspect.Signature, test: TestExecution) -> bool:
    try:
        signature.bind(*test.test_args, **test.test_kwargs)
    except TypeError:
        return False
    return True


def _typed(name: str, adapter: tuple[Any, TypeAdapter[Any]], value: Any, default: Any = inspect.Parameter.empty) -> Any:
    try:
        return adapter[1].validate_json(to_json(value, inf_nan_mode="constants"))
    except Exception as exc:  # of a validator of the application
        reraise_from_handler(exc)
        if type(value) is type(default) and value == default:  # as in: side: str = None
            return value
        why = explain(exc) if isinstance(exc, ValidationError) else type_and_message(exc)
        raise LiveCheckTestFailed(f"run(): argument {name} is not of type {name_of_type(adapter[0])}: {why}") from exc


def _evaluated(run: Callable[..., Any], annotation: Any) -> Any:
    """Return the type of an annotation, also of a postponed one."""
    if not isinstance(annotation, str):
        return annotation
    function = inspect.unwrap(getattr(run, "__func__", run))
    # On its own, since get_type_hints() fails for a whole function when one annotation cannot be evaluated.
    holder = type("arguments", (), {"__annotations__": {"value": annotation}})
    return get_type_hints(holder, getattr(function, "__globals__", {}), include_extras=True)["value"]
