"""The class of a case's runners: check what it overrides, and make a runner for each test."""

from __future__ import annotations

import inspect
import time
from typing import Any, Final
from weakref import WeakSet

from livecheck_celery.cases.methods import check_method
from livecheck_celery.errors import ConfigurationError
from livecheck_celery.execution.runnable import RunnableCase
from livecheck_celery.execution.runner import BaseRunner
from livecheck_celery.execution.runner_hooks import HOOKS
from livecheck_celery.models import TestExecution
from livecheck_celery.utils.sanitize import get_logger, type_and_message
from livecheck_celery.utils.signal_handlers import reraise_from_handler
from livecheck_celery.utils.throttle import ThrottledLogger

throttled = ThrottledLogger(get_logger(__name__))

#: What a subclass can override, besides special methods.
_OVERRIDABLE: Final = frozenset({*HOOKS, "execute", "skip", "log_info"})
_checked: WeakSet[type] = WeakSet()


def check_runner(case_name: str, kind: Any, base: type[BaseRunner]) -> None:
    """Check the class of the runners of a case; ``base`` is that of its face.

    Raises:
        ConfigurationError: it is not a subclass of ``base``; it replaces what is not a hook; or a method has a
            ``yield``, is one of the other face, or does not take its arguments.
    """
    if kind is base or kind in _checked:
        return
    owner = f"case {case_name}: {getattr(kind, '__name__', repr(kind)):.100}"
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise ConfigurationError(f"{owner}: a Runner of this case {must_be(base)}")
    for one in [each for each in kind.__mro__ if each not in base.__mro__]:
        for name in vars(one).keys() & set(dir(base)):
            if name in _OVERRIDABLE:
                check_method(owner, name, inspect.getattr_static(kind, name), base)
            elif not name.startswith("__"):
                raise ConfigurationError(f"{owner}: {name} replaces what LiveCheck uses of every runner; rename it")
    try:
        inspect.signature(kind).bind(None, None, started=0.0)
    except (TypeError, ValueError):
        raise ConfigurationError(f"{owner}: is made as {kind.__name__}(case, test, started=...)") from None
    _checked.add(kind)


def must_be(base: type[BaseRunner]) -> str:
    """Return the end of an error message, which says which class a runner must have."""
    face = "livecheck_celery.aio" if inspect.iscoroutinefunction(base.on_start) else "livecheck_celery"
    return f"must be a subclass of {base.__name__} of {face}"


def make_runner(case: RunnableCase, test: TestExecution, kind: Any, base: type[BaseRunner]) -> BaseRunner:
    """Return a runner of class ``kind``; if that cannot be made, log it, and return one of class ``base``."""
    started = time.monotonic()
    try:
        check_runner(case.name, kind, base)  # it can be set after the declaration
        runner: BaseRunner = kind(case, test, started=started)
        if runner.is_complete:
            return runner
        problem = "its __init__ must call super().__init__(case, test, started)"
    except Exception as exc:  # noqa: BLE001 - of the application's constructor
        reraise_from_handler(exc)
        problem = type_and_message(exc)
    throttled.error("case %s: Runner %r cannot be used; using %s: %s", case.name, kind, base.__name__, problem)
    return base(case, test, started)
