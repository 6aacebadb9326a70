"""Blocks of work, in one context variable: each thread, greenlet and coroutine has its own.

The variable holds the open blocks, the outermost first. A block that is left in the context in which it was entered is
taken off the variable; copies of that context, such as those of asyncio tasks started in the block, keep it. A block
can also be left elsewhere: a generator can be closed by another thread, another coroutine or the garbage collector.
Another context cannot be changed, so the block is then marked as ended, and readers skip it everywhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self

from pydantic import AwareDatetime

from livecheck_celery.utils import clock

#: Maximum number of tests of one `Work` that are kept, the latest ones, so that endless work has bounded memory.
MAX_TESTS: Final = 100

#: Maximum number of blocks that are open in one context, so that blocks that are never left cost a bounded time each.
MAX_OPEN: Final = 32


@dataclass(frozen=True)
class Mark:
    """The mark of a fake request, on all work that it causes; never renewed.

    Attributes:
        case_name: name of the case whose fake request it is.
        since: when the fake request began.
        expires: time from which no service accepts the mark over HTTP.
    """

    case_name: str
    since: AwareDatetime
    expires: AwareDatetime

    @property
    def is_expired(self) -> bool:
        """Whether the time ``expires`` has come."""
        return clock.now() >= self.expires


class Test(Protocol):
    """A test, as far as blocks use it."""

    @property
    def is_expired(self) -> bool:
        """Whether the test is no longer in force."""

    @property
    def mark(self) -> Mark | None:
        """The mark of the fake request that caused the test."""


class Block:
    """A block of code that is part of ``tests``, or of a fake request.

    Args:
        tests: the tests, the innermost first.
        mark: of the fake request that the block is part of; by default, that of a test.
        isolated: whether the block is part of nothing else; otherwise it is also part of what surrounds it.
        expires: whether its tests end when they expire; if not, they last as long as the block.

    Attributes:
        ended: whether the block was left in another context than the one in which it was entered.
        is_empty: whether the block is part of nothing.
    """

    # Class attributes, since one block is created for every request, most of which are not tested.
    ended = False
    is_empty = True
    _tests: Sequence[Test] = ()
    _mark: Mark | None = None
    _isolated = False
    _expires = True
    _left = False
    _token: Token[tuple[Block, ...]] | None = None

    def __init__(
        self,
        tests: Sequence[Test] = (),
        mark: Mark | None = None,
        *,
        isolated: bool = False,
        expires: bool = True,
    ) -> None:
        if tests or mark is not None:
            self.is_empty = False
            self._tests = tests
            for test in tests:
                if mark is not None:
                    break
                mark = test.mark
            if mark is not None:
                self._mark = mark
        if isolated:
            self._isolated = True
        if not expires:
            self._expires = False

    def __enter__(self) -> Self:
        try:
            around = () if self._isolated else _surrounding(_open.get())
            self._token = _open.set((*around, self))
        except BaseException:  # of a signal handler
            self._close()
            raise
        return self

    def __exit__(self, kind: object = None, error: BaseException | None = None, trace: object = None) -> None:
        try:
            self._close()
        except BaseException:  # of a signal handler
            self._close()
            raise

    @property
    def tests(self) -> list[Any]:
        """The tests that are in force in the block, the innermost first."""
        return [test for test in self._tests if not (self._expires and test.is_expired)]

    @property
    def mark(self) -> Mark | None:
        """The mark of the fake request that the block is part of; after the block, until it expires."""
        mark = self._mark
        return None if mark is None or (self._left and mark.is_expired) else mark

    @property
    def is_over(self) -> bool:
        """Whether the block, and all in it, ended without being left."""
        return False

    def _close(self) -> tuple[Block, ...]:
        """Close the block, in any context; return the blocks that were open in this context."""
        opened = _open.get()
        token, self._token = self._token, None
        if token is None:
            # Open only if a signal handler raised while the block was entered or left, or if it was entered for good.
            inside = self._isolated and self in opened
            kept = opened[: opened.index(self)] if inside else tuple(block for block in opened if block is not self)
            _open.set(kept)
            return opened
        if not self._expires:
            self._expires = True  # for the work that the block started
        if self._mark is not None:
            self._left = True
        try:
            _open.reset(token)
        except ValueError:  # another context
            self.ended = True
            return opened
        if opened[-1:] != (self,) and not (self._isolated and self in opened):
            # Blocks that surround nothing of this one are still open, such as those of a suspended generator.
            self.ended = True
            _open.set(tuple(block for block in opened if block is not self))
        return opened


class ReentrantBlock(Block):
    """A block that can be entered several times, one after the other, such as for each step of a generator.

    It is part of nothing else, and is entered with the blocks that were open when it was left.
    """

    _isolated = True
    _inside: tuple[Block, ...] | None = None

    def __enter__(self) -> Self:
        try:
            inside, self._inside = self._inside, None  # not kept, since it contains this object
            if self._left:
                self._left = False
            self._token = _open.set(inside or (self,))
        except BaseException:  # of a signal handler
            self._close()
            raise
        return self

    def _close(self) -> tuple[Block, ...]:
        opened = super()._close()
        if len(opened) > 1 and not self.ended:
            inside = tuple(block for block in opened if not block.ended)
            self._inside = inside if len(inside) > 1 else None
        return opened


class Work(ReentrantBlock):
    """The block of a request, a task or a message, which collects the tests that are triggered in it.

    Between two parts of a streamed body, the thread may serve another request.

    Args:
        tests: the tests of the work, the innermost first.
        mark: of the fake request that the work is part of; by default, that of a test.
        outer: collects the triggered tests, too.

    Attributes:
        has_triggered: whether a test was triggered in the work.
    """

    has_triggered = False
    _closed = False
    _outer: Work | None = None
    _triggered: deque[tuple[Any, bool]] | None = None

    def __init__(self, tests: Sequence[Test] = (), mark: Mark | None = None, *, outer: Work | None = None) -> None:
        super().__init__(tests, mark)
        if outer is not None:
            self._outer = outer

    def enter_for_good(self) -> bool:
        """Enter the work, which need not be left: the next work that is entered so can replace it once it is over.

        Returns:
            False if anything that is not over is open; the work is not entered then.
        """
        opened = _open.get()
        if opened and not opened[0].is_over:
            return False
        _open.set((self,))
        return True

    def collect(self, test: Test, *, lingers: bool) -> None:
        """Add a test that was triggered in the work; with ``lingers``, it is in force for a block."""
        self.has_triggered = True
        # setdefault() is atomic: threads of a request can trigger its first tests at the same time.
        vars(self).setdefault("_triggered", deque(maxlen=MAX_TESTS)).append((test, lingers))
        if self._outer is not None:
            self._outer.collect(test, lingers=False)

    @property
    def triggered(self) -> list[Any]:
        """The latest tests that were triggered in the work, the first one first, without expired ones."""
        return [test for test, _ in tuple(self._triggered or ()) if not test.is_expired]

    @property
    def lingering(self) -> list[Any]:
        """The tests that were in force in blocks of the work, the latest first; none once it is closed."""
        return [] if self._closed else [test for test, lingers in reversed(tuple(self._triggered or ())) if lingers]

    def linger(self) -> None:
        """Make the tests of earlier blocks stay in force, behind all others, in this context until `close`."""
        opened = _open.get()
        if self in opened and not isinstance(opened[0], _Lingering):
            _open.set((_Lingering(self), *opened))

    def close(self) -> None:
        """End the tests that linger, in every context."""
        self._closed = True
        self._inside = None


class _Lingering(Block):
    """The tests of earlier blocks of ``work``."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.is_empty = False
        self._work = work

    @property
    def tests(self) -> list[Any]:
        return [test for test in self._work.lingering if not test.is_expired]


def _surrounding(opened: tuple[Block, ...]) -> tuple[Block, ...]:
    """Return the blocks of ``opened`` that a new block is part of: those not ended, at most the latest ones."""
    if not opened:
        return opened
    live = tuple([block for block in opened if not block.ended])
    if len(live) < MAX_OPEN:
        return live
    oldest = next((place for place, block in enumerate(live) if not isinstance(block, Work | _Lingering)), 0)
    return live[:oldest] + live[oldest + 1 :]


_open: Final[ContextVar[tuple[Block, ...]]] = ContextVar("livecheck_blocks", default=())


def is_anything_in_force() -> bool:
    """Return whether the running code can be part of a test or a fake request; fast, and False in most requests."""
    for block in _open.get():  # noqa: SIM110 - any() with a generator takes three times as long
        if not block.is_empty:
            return True
    return False


def tests_in_force() -> list[Any]:
    """Return the tests that the running code is part of, the innermost first; a test can occur twice."""
    found: list[Any] = []
    for block in reversed(_open.get()):
        if not block.is_empty and not block.ended:
            found += block.tests
    return found


def mark_in_force() -> Mark | None:
    """Return the mark of the fake request that the running code is part of; of several, the innermost."""
    opened = _open.get()
    if not opened:
        return None
    for block in reversed(opened):
        if not block.is_empty and not block.ended and (mark := block.mark) is not None:
            return mark
    return None


def current_work() -> Work | None:
    """Return the work that the running code is part of."""
    for block in _open.get():
        if isinstance(block, Work) and not block.ended:
            return block
    return None
