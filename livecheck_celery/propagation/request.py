"""The LiveCheck context of one web request, and the tests that are notified when the request finishes."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any, Final

from livecheck_celery.blocks import Work, current_work, is_anything_in_force
from livecheck_celery.context import current_tests, mark_in_force
from livecheck_celery.guard import guarded
from livecheck_celery.propagation.gate import Gate
from livecheck_celery.propagation.headers import NOTHING, Carried
from livecheck_celery.utils import sentry

#: Key of the gate of the middleware that serves a request, in its ``scope`` or ``environ``.
_SERVED: Final = "livecheck.gate"


class RequestScope(Work):
    """The work of one web request, from its headers to the end of its response.

    Use it as a context manager around each piece of application code that serves the request. An exception that leaves
    a block is reported as the request's outcome.

    Args:
        gate: decides whether to trust the headers, and reports the outcome.
        headers: of the request; others than LiveCheck's can be left out.
        method: HTTP method as sent by the client.
        path: full path, without the query string.
        native: the request of the framework, for the routes of the gate.

    Attributes:
        accepted: whether the headers were accepted; the response then says so.
    """

    # Created for every request, most of which are not tested; so it is small, and makes few calls.
    accepted = False
    _finished = False

    def __init__(
        self, gate: Gate, headers: Iterable[tuple[str, str]], method: str, path: str, native: Any = None
    ) -> None:
        carried = gate.accept(headers)
        if carried is not NOTHING:
            self.accepted = True
        carried = _with_outer_context(carried)
        if gate.routes:
            carried = gate.routes.trigger(method, path, native, carried)
        if carried is not NOTHING:
            super().__init__(*carried)
        self._gate = gate
        self._method = method
        self._path = path

    def __exit__(self, kind: object = None, error: BaseException | None = None, trace: object = None) -> None:
        try:  # not super().__exit__(), since a signal handler can raise before the call
            self._close()
        except BaseException:  # of a signal handler
            self._close()
            raise
        # An abandoned coroutine, closed by the garbage collector in another context, has no outcome.
        if error is not None and not self.ended:
            for test in (*self.tests, *self.triggered)[:1]:
                sentry.remember(error, test.case_name, test.id)  # Sentry's middleware can be outside of this request
            self.finish(0, error)

    def collect(self, test: Any, *, lingers: bool) -> None:
        """Add a test that was triggered in the request, unless the request has finished.

        Background work keeps triggering tests in the context of a finished request.
        """
        if not self._finished:
            super().collect(test, lingers=lingers)

    @guarded("http: failed to finish a request; continuing", None)
    def finish(self, status: int, error: BaseException | None = None) -> None:
        """Report the outcome of the request to its tests; further calls do nothing.

        Args:
            status: HTTP status of the response.
            error: what the application raised instead of a response.
        """
        if self._finished:
            return
        self._finished = True
        if self.is_empty and not self.has_triggered:
            return
        if tests := (*self.tests, *self.triggered):
            self._gate.request_finished(self._method, self._path, status, tests, error)


def is_served(native: MutableMapping[str, Any], gate: Gate) -> bool:
    """Return whether a middleware of ``gate`` already serves a request, as outside of an application that is mounted.

    Args:
        native: the ``scope`` of ASGI, or the ``environ`` of WSGI.
        gate: of the middleware that asks.
    """
    return native.get(_SERVED) is gate


def set_served(native: MutableMapping[str, Any], gate: Gate | None) -> None:
    """Note that a middleware of ``gate`` serves a request; None when it has served it."""
    if gate is None:
        native.pop(_SERVED, None)
    else:
        native[_SERVED] = gate


@guarded("http: failed to read the context of a request; it carries no test", NOTHING)
def accept_request(gate: Gate, headers: Iterable[tuple[str, str]]) -> Carried:
    """Return the LiveCheck context of a request: from its ``headers``, else from the caller of the middleware."""
    return _with_outer_context(gate.accept(headers))


def _with_outer_context(carried: Carried) -> Carried:
    outer = _outer_context()
    if carried is NOTHING or outer is NOTHING:
        return outer if carried is NOTHING else carried
    return Carried(carried.tests or outer.tests, carried.mark or outer.mark)


def _outer_context() -> Carried:
    if (earlier := current_work()) is None and not is_anything_in_force():
        return NOTHING
    if not isinstance(earlier, RequestScope):
        return Carried(tuple(current_tests()), mark_in_force())
    # A server may handle a request in the context of an earlier one, as uvicorn does after it paused reading from a
    # connection. The tests of that earlier request must not leak into this one.
    own = [*earlier.tests, *earlier.triggered]
    tests = [test for test in current_tests() if test not in own]
    return Carried(tuple(tests), None) if tests else NOTHING
