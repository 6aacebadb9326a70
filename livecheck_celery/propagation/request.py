"""The LiveCheck context of one web request, and the tests that are notified when the request finishes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from livecheck_celery.context import current_test_var, synthetic_case_var, triggered_var
from livecheck_celery.models import TestExecution
from livecheck_celery.propagation.gate import Gate
from livecheck_celery.propagation.headers import NOTHING, Carried, current

#: Maximum number of tests of one request that are notified, so that an endless response has bounded memory.
MAX_TESTS: Final = 100


class RequestTests(list[TestExecution]):
    """The tests to notify when a request finishes: the test of the request, and those triggered in it."""

    #: True once the request has finished. Background work keeps triggering tests in the request's context; without this
    #: flag, the list would grow for as long as the process lives.
    closed = False

    def append(self, test: TestExecution) -> None:
        """Add ``test``, unless the request has finished or the list is full."""
        if not self.closed and len(self) < MAX_TESTS:
            super().append(test)


class RequestScope:
    """The LiveCheck context of one web request, from its headers to its response.

    Use it as a context manager around each piece of application code that serves the request. It can be entered several
    times, one after the other: between two parts of a streamed body, the thread may serve another request. Each block
    starts with the context that the previous one ended with. An exception that leaves a block is reported as the
    request's outcome.

    Args:
        gate: decides whether to trust the headers, and reports the outcome.
        headers: of the request; others than LiveCheck's can be left out.
        method: HTTP method as sent by the client.
        path: full path, without the query string.
    """

    # Created for every request, most of which are not tested; so it is small, and makes few calls.
    __slots__ = ("_gate", "_method", "_path", "_synthetic_case", "_test", "_tests", "_tokens")

    def __init__(self, gate: Gate, headers: Iterable[tuple[str, str]], method: str, path: str) -> None:
        self._test, self._synthetic_case = accept_request(gate, headers)
        self._tests = RequestTests() if self._test is None else RequestTests((self._test,))
        self._gate = gate
        self._method = method
        self._path = path

    def __enter__(self) -> None:
        self._tokens = (
            current_test_var.set(self._test),
            synthetic_case_var.set(self._synthetic_case),
            triggered_var.set(self._tests),
        )

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._test, self._synthetic_case = current_test_var.get(), synthetic_case_var.get()
        test, synthetic_case, triggered = self._tokens
        try:
            current_test_var.reset(test)
            synthetic_case_var.reset(synthetic_case)
            triggered_var.reset(triggered)
        except ValueError:
            return  # an abandoned coroutine, closed by the garbage collector in another context
        if error is not None:
            self.finish(0, error)

    def finish(self, status: int, error: BaseException | None = None) -> None:
        """Report the outcome of the request to its tests; further calls do nothing.

        Args:
            status: HTTP status of the response.
            error: what the application raised instead of a response.
        """
        tests = self._tests
        if tests and not tests.closed:
            self._gate.request_finished(self._method, self._path, status, tuple(tests), error)
        tests.closed = True


def accept_request(gate: Gate, headers: Iterable[tuple[str, str]]) -> Carried:
    """Return the LiveCheck context of a request: from its ``headers``, else from the caller of the middleware."""
    carried = gate.accept(headers)
    if carried.test is not None:
        return carried
    outer = _outer_context()
    return outer if carried is NOTHING else Carried(outer.test, carried.synthetic_case)


def _outer_context() -> Carried:
    test = current_test_var.get()
    tests_of_earlier_request = triggered_var.get()
    if tests_of_earlier_request is None:
        return NOTHING if test is None is synthetic_case_var.get() else current()
    # A server may handle a request in the context of an earlier one, as uvicorn does after it paused reading from a
    # connection. The tests of that earlier request must not leak into this one.
    if test is None or any(test is each for each in tests_of_earlier_request):
        return NOTHING
    return Carried(test, None)
