"""Routes: patterns of requests, and the cases that a middleware triggers on them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any, Final, Protocol

from livecheck_celery.blocks import Block
from livecheck_celery.errors import ConfigurationError
from livecheck_celery.guard import Guard
from livecheck_celery.models import TestExecution
from livecheck_celery.propagation.headers import Carried

_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")
#: Longest method and path that a route can match, in characters.
_LONGEST: Final = 2_048
_METHOD: Final = re.compile(r"[A-Za-z-]+")
_LINE: Final = "http: failed to trigger case %s; the request continues without it"


@dataclass(frozen=True)
class RouteRequest:
    """A request as the ``arguments`` function of `LiveCheck.trigger_on` gets it.

    Attributes:
        method: HTTP method.
        path: full path, without the query string.
        path_params: the parts of the path at the placeholders of the route, by name.
        native: the request of the framework: Django's ``HttpRequest``, the ``environ`` of WSGI, the ``scope`` of ASGI.
    """

    method: str
    path: str
    path_params: Mapping[str, str]
    native: Any


Arguments = Callable[[RouteRequest], Mapping[str, Any] | None]


class Triggered(Protocol):
    """A case, as far as a route triggers it."""

    @property
    def name(self) -> str:
        """The full name of the case."""

    @property
    def maybe_trigger(self) -> Callable[..., Any]:
        """Triggers a test with the probability of the case."""


class Route:
    """A pattern of method and path, such as ``POST /order/{id}/``; each placeholder is a part of one segment.

    Of several placeholders in one segment, each ends at the first text that follows it in the pattern. So the time of a
    match is proportional to the length of the path, which outsiders choose.
    """

    def __init__(self, method: str, path: str) -> None:
        # By segment: text, name of a placeholder, text, and so on.
        self._segments = [_PLACEHOLDER.split(segment) for segment in f"{method.upper()} {path}".split("/")]

    def match(self, name: str) -> dict[str, str] | None:
        """Return the values of the placeholders in ``name``, a method and a path; None if it does not match."""
        segments = name.split("/") if len(name) <= _LONGEST else ()
        if len(segments) != len(self._segments):
            return None
        values: dict[str, str] = {}
        matched = all(_match(parts, text, values) for parts, text in zip(self._segments, segments, strict=True))
        return values if matched else None


def _match(parts: Sequence[str], text: str, values: dict[str, str]) -> bool:
    """Match one segment, and add the values of its placeholders to ``values``."""
    if len(parts) == 1:
        return text == parts[0]
    at, end = len(parts[0]), len(text) - len(parts[-1])
    if not text.startswith(parts[0]) or not text.endswith(parts[-1]):
        return False
    for name, separator in zip(parts[1:-2:2], parts[2:-1:2], strict=True):
        found = text.find(separator, at + 1, end)
        if found < 0:
            return False
        values[name] = text[at:found]
        at = found + len(separator)
    values[parts[-2]] = text[at:end]
    return at < end


def check_route(where: str, method: Any, path: Any) -> None:
    """Check that requests can match ``method`` and ``path``, which ``where`` got.

    Raises:
        ConfigurationError: none can.
    """
    if not isinstance(method, str) or not _METHOD.fullmatch(method):
        raise ConfigurationError(f"{where}: method {method!r:.100} must be one HTTP method, such as 'POST'")
    problem = ""
    if not isinstance(path, str) or not path.startswith("/"):
        problem = "must begin with a slash, as in '/orders/'"
    elif "?" in path or "#" in path:
        problem = "must not have a query or a fragment"
    else:
        names = _PLACEHOLDER.findall(path)
        if set("{}<>") & set(_PLACEHOLDER.sub("", path)) or len(set(names)) < len(names):
            problem = "must have placeholders with different names, as in '/orders/{number}/pay/'"
        elif "}{" in path:
            problem = "must have text between two placeholders"
        elif len(f"{method} {path}") > _LONGEST:
            problem = f"must have at most {_LONGEST} characters with its method"
    if problem:
        raise ConfigurationError(f"{where}: path {path!r:.100} {problem}")


class Routes:
    """The routes of one LiveCheck, and the cases to trigger on them."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._routes: list[tuple[Route, Triggered, Arguments | None]] = []

    def __bool__(self) -> bool:
        return bool(self._routes)

    def add(
        self, method: str, path: str, cases: Mapping[str, Any], case: Triggered, arguments: Arguments | None
    ) -> None:
        """Trigger ``case``, one of ``cases``, on requests of ``method`` and ``path``.

        Raises:
            ConfigurationError: no request can match the method or the path, the case is none of ``cases``, or
                ``arguments`` is not a plain function.
        """
        check_route("trigger_on", method, path)
        if not any(one is case for one in cases.values()):
            name = f"case {case.name}" if hasattr(case, "name") else f"{case!r:.100}"
            raise ConfigurationError(f"trigger_on: {name} is not declared on this LiveCheck")
        if arguments is not None and (not callable(arguments) or iscoroutinefunction(arguments)):
            raise ConfigurationError(f"trigger_on: arguments must be a plain function, not {arguments!r:.100}")
        self._routes.append((Route(method, path), case, arguments))

    def trigger(self, method: str, path: str, native: Any, carried: Carried) -> Carried:
        """Trigger the cases of a request that starts, except those whose test it is part of; never raises.

        Returns:
            ``carried``, with the tests that were triggered.
        """
        for route, case, arguments in self._routes:
            values = route.match(f"{method} {path}")
            if values is None or any(test.case_name == case.name for test in carried.tests):
                continue
            test = self._trigger(case, arguments, RouteRequest(method, path, values, native), carried)
            if test is not None:
                carried = Carried((test, *carried.tests), carried.mark)
        return carried

    def _trigger(
        self, case: Triggered, arguments: Arguments | None, request: RouteRequest, carried: Carried
    ) -> TestExecution | None:
        test: TestExecution | None = None
        with self._guard(f"trigger_on {case.name}", _LINE, case.name):
            given = {} if arguments is None else arguments(request)
            if given is not None:
                # The request's scope has the test in force; this block only lets the case know a fake request.
                with Block(*carried, isolated=True), case.maybe_trigger(**given) as test:
                    pass
        return test
