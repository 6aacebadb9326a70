"""A web request while it is handled: what is in force then, and which tests hear what became of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from livecheck_celery.context import current_test_var, synthetic_case_var, triggered_var
from livecheck_celery.models import TestExecution
from livecheck_celery.propagation import headers as carrier
from livecheck_celery.propagation.gate import Gate

#: Tests of one request that hear of its end. One that triggers more is a stream, which may never end.
MOST: Final = 100


class Tests(list[TestExecution]):
    """The tests that a request is part of, or that were triggered in it, while they may hear of its end."""

    #: What a request starts and leaves running triggers tests in its context for as long as the process lives.
    closed = False

    def append(self, test: TestExecution) -> None:
        """Note ``test``, if that is still of use."""
        if not self.closed and len(self) < MOST:
            super().append(test)


class Handling:
    """One request, from its headers to its answer; as a context manager, puts in force what the request is part of.

    A block is for code of the application's. There may be several, one after the other: between two parts of a body the
    thread may be at another request. What the application changes in one block is kept for the next, and an error that
    leaves one is told.

    Args:
        gate: says what the headers are worth, and is told of the answer.
        headers: those of the request, or of them what can be LiveCheck's.
        method: as the client sent it.
        path: in full, without the query.
    """

    # Every request has one of these, nearly all of them in no test: so there is little to make, and little to call.
    __slots__ = ("_gate", "_method", "_path", "_synthetic_case", "_test", "_tests", "_tokens")

    def __init__(self, gate: Gate, headers: Iterable[tuple[str, str]], method: str, path: str) -> None:
        self._test, self._synthetic_case = accepted(gate, headers)
        self._tests = Tests() if self._test is None else Tests((self._test,))
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
            return  # a coroutine that nobody waits for, cleared away by whoever came along: not in its own context
        if error is not None:
            self.answered(0, error)

    def answered(self, status: int, error: BaseException | None = None) -> None:
        """Tell the tests of the request that it has been answered, or why it was not; only the first time counts."""
        tests = self._tests
        if tests and not tests.closed:
            self._gate.answered(self._method, self._path, status, tuple(tests), error)
        tests.closed = True


def accepted(gate: Gate, headers: Iterable[tuple[str, str]]) -> carrier.Carried:
    """What a request with ``headers`` is part of: what they carry, else what whoever called us has put in force."""
    carried = gate.accept(headers)
    if carried.test is not None:
        return carried
    around = _around()
    return around if carried is carrier.NOTHING else carrier.Carried(around.test, carried.synthetic_case)


def _around() -> carrier.Carried:
    test = current_test_var.get()
    earlier = triggered_var.get()
    if earlier is None:
        return carrier.NOTHING if test is None is synthetic_case_var.get() else carrier.current()
    # A server may handle a request in the context of an earlier one: uvicorn does, on a connection that it stopped
    # reading for a while. What that one was part of is none of this one's business.
    if test is None or any(test is one for one in earlier):
        return carrier.NOTHING
    return carrier.Carried(test, None)
