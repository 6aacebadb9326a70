"""What a case declares about its tests: the arguments of ``run()``, its time, and how often signals can arrive."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, get_type_hints

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import to_json

from livecheck_celery.errors import InvalidPayload, LiveCheckTestFailed, LiveCheckTestTimeout
from livecheck_celery.execution.places import in_brackets, raised_at
from livecheck_celery.execution.results import settled
from livecheck_celery.execution.runnable import RunnableCase
from livecheck_celery.models import TestExecution, times_in_words
from livecheck_celery.utils.type_adapters import adapter_of
from livecheck_celery.utils.validation import explain

#: Seconds after its deadline in which a coroutine can still raise its own timeout, which names the signal.
_GRACE: Final = 0.5


def check_arrivals(case: RunnableCase, test: TestExecution) -> None:
    """Check that no signal arrived more often than its case allows, by what is stored, which is complete.

    Raises:
        LiveCheckTestFailed: a signal arrived more often.
        RedisUnavailable: Redis did not answer for a minute.
    """
    limits, process = case.signal_limits, case.runner_resources
    if not limits:
        return
    [stored] = process.retry(process.store.signals.awaited, [(case.name, test.id, list(limits))])
    for name, event in stored.items():
        if event.arrivals > limits[name]:
            times = times_in_words(event.arrivals)
            raise LiveCheckTestFailed(f"signal {name} arrived {times} (times={limits[name]})")


def call_run(run: Callable[..., Any], test: TestExecution) -> Any:
    """Call ``run()`` with the arguments of ``test``, each converted to the type of its annotation; return its result.

    An argument without an annotation, or with one that cannot be evaluated or read from JSON, stays as JSON types; so
    does the default value of an argument, if it is not of the type.

    Raises:
        InvalidPayload: an argument is not of its type; the message names it.
    """
    try:
        signature = inspect.signature(run)
        bound = signature.bind(*test.test_args, **test.test_kwargs)
    except (TypeError, ValueError):
        return run(*test.test_args, **test.test_kwargs)  # which raises, and says what does not fit
    for name, adapter in _adapters(run, signature):
        if name not in bound.arguments:
            continue
        value, parameter = bound.arguments[name], signature.parameters[name]
        kind = parameter.kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            bound.arguments[name] = tuple(_typed(name, adapter, each) for each in value)
        elif kind is inspect.Parameter.VAR_KEYWORD:
            bound.arguments[name] = {each: _typed(each, adapter, value[each]) for each in value}
        else:
            bound.arguments[name] = _typed(name, adapter, value, parameter.default)
    return run(*bound.args, **bound.kwargs)


async def awaited(awaitable: Awaitable[Any], started: float, deadline: float) -> Any:
    """Await what ``run()`` returned, and what that returns; cancel it at the deadline.

    Args:
        awaitable: the coroutine.
        started: monotonic time of the start of the test.
        deadline: monotonic time of its end.

    Raises:
        LiveCheckTestTimeout: the deadline has passed.
    """
    try:
        async with asyncio.timeout(deadline - time.monotonic() + _GRACE) as bound:
            return await settled(awaitable)
    except TimeoutError as exc:
        if bound.expired():
            took = f"{time.monotonic() - started:.1f} s{in_brackets(raised_at(exc))}"
            raise LiveCheckTestTimeout(f"run() was stopped after {took}") from None
        raise


def _typed(name: str, adapter: TypeAdapter[Any], value: Any, default: Any = inspect.Parameter.empty) -> Any:
    try:
        return adapter.validate_json(to_json(value, inf_nan_mode="constants"))
    except ValidationError as exc:
        if type(value) is type(default) and value == default:  # as in: side: str = None
            return value
        raise InvalidPayload(f"run(): argument {name}: {explain(exc)}") from exc


def _adapters(run: Callable[..., Any], signature: inspect.Signature) -> Iterator[tuple[str, TypeAdapter[Any]]]:
    for name, parameter in signature.parameters.items():
        hint = _evaluated(run, parameter.annotation)
        if hint not in (inspect.Parameter.empty, Any, object):
            try:
                yield name, adapter_of(hint, None)
            except (PydanticUserError, TypeError, NameError):
                continue


def _evaluated(run: Callable[..., Any], annotation: Any) -> Any:
    """Return the type of an annotation, also of a postponed one; Any if it cannot be evaluated."""
    if not isinstance(annotation, str):
        return annotation
    function = inspect.unwrap(getattr(run, "__func__", run))
    # On its own, since get_type_hints() fails for a whole function when one annotation cannot be evaluated.
    holder = type("arguments", (), {"__annotations__": {"value": annotation}})
    try:
        return get_type_hints(holder, getattr(function, "__globals__", {}), include_extras=True)["value"]
    except Exception:  # noqa: BLE001 - the text is the user's, and can raise anything
        return Any
