"""Blocks of work, in one context variable: each thread, greenlet and coroutine has its own.

The variable holds the open blocks, the outermost first. A block that is left in the context in which it was entered is
taken off the variable; copies of that context, such as those of asyncio tasks started in the block, keep it. A block
can also be left elsewhere: a generator can be closed by another thread, another coroutine or the garbage collector.
Another context cannot be changed, so the block is then marked as ended, and readers skip it everywhere.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextvars import ContextVar, Token
from typing import Any, Final, Protocol, Self

#: Maximum number of tests of one `Work` that are kept, the latest ones, so that endless work has bounded memory.
MAX_TESTS: Final = 100

#: Seconds for which the mark of a fake request stays after its block, in the work that the block started.
MARK_LIFETIME: Final = 300.0


class Test(Protocol):
    """A test, as far as blocks use it."""

    @property
    def is_expired(self) -> bool:
        """Whether the test is no longer in force."""


class Block:
    """A block of code that is part of ``tests``, or of a fake request.

    Args:
        tests: the tests, the innermost first.
        synthetic_case: name of the case whose fake request the block is part of.
        isolated: whether the block is part of nothing else; otherwise it is also part of what surrounds it.
        expires: whether its tests end when they expire; if not, they end with the block.

    Attributes:
        ended: whether the block was left in another context than the one in which it was entered.
    """

    __slots__ = ("_marked_until", "_synthetic_case", "_tests", "_token", "ended", "expires", "isolated")

    def __init__(
        self,
        tests: Sequence[Any] = (),
        synthetic_case: str | None = None,
        *,
        isolated: bool = False,
        expires: bool = True,
    ) -> None:
        self._tests = tests
        self._synthetic_case = synthetic_case
        self._marked_until: float | None = None
        self._token: Token[tuple[Block, ...]] | None = None
        self.isolated = isolated
        self.expires = expires
        self.ended = False

    def __enter__(self) -> Self:
        around = () if self.isolated else tuple(block for block in _open.get() if not block.ended)
        self._token = _open.set((*around, self))
        return self

    def __exit__(self, kind: object = None, error: BaseException | None = None, trace: object = None) -> None:
        self._leave()

    @property
    def tests(self) -> Iterator[Any]:
        """The tests that are in force in the block, the innermost first."""
        return (test for test in self._tests if not (self.expires and test.is_expired))

    @property
    def synthetic_case(self) -> str | None:
        """Name of the case whose fake request the block is part of."""
        if self._marked_until is not None and time.monotonic() >= self._marked_until:
            return None
        return self._synthetic_case

    def _leave(self) -> tuple[Block, ...]:
        """Leave the block, in any context; return the blocks that were open in this context."""
        opened = _open.get()
        token, self._token = self._token, None
        if token is None:
            return opened
        if self._synthetic_case is not None:
            self._marked_until = time.monotonic() + MARK_LIFETIME
        try:
            _open.reset(token)
        except ValueError:  # another context
            self.ended = True
            return opened
        if opened[-1:] != (self,) and not (self.isolated and self in opened):
            # Blocks that surround nothing of this one are still open, such as those of a suspended generator.
            self.ended = True
            _open.set(tuple(block for block in opened if block is not self))
        return opened


class Work(Block):
    """The block of a request, a task or a message, which collects the tests that are triggered in it.

    It can be entered several times, one after the other: between two parts of a streamed body, the thread may serve
    another request. It is part of nothing else, and is entered with the blocks that were open when it was left.

    Args:
        tests: the tests of the work, the innermost first.
        synthetic_case: name of the case whose fake request the work is part of.
        outer: collects the triggered tests, too.
    """

    __slots__ = ("_closed", "_inside", "_outer", "_triggered")

    def __init__(
        self, tests: Sequence[Any] = (), synthetic_case: str | None = None, *, outer: Work | None = None
    ) -> None:
        super().__init__(tests, synthetic_case, isolated=True)
        self._inside: tuple[Block, ...] | None = None
        self._triggered: deque[tuple[Any, bool]] = deque(maxlen=MAX_TESTS)
        self._outer = outer
        self._closed = False

    def __enter__(self) -> Self:
        self._token = _open.set(self._inside or (self,))
        self._inside = None  # not kept, since it contains this object
        return self

    def __exit__(self, kind: object = None, error: BaseException | None = None, trace: object = None) -> None:
        inside = tuple(block for block in self._leave() if not block.ended)
        self._inside = inside if len(inside) > 1 and not self.ended else None

    def collect(self, test: Any, *, lingers: bool) -> None:
        """Add a test that was triggered in the work; with ``lingers``, it is in force for a block."""
        self._triggered.append((test, lingers))
        if self._outer is not None:
            self._outer.collect(test, lingers=False)

    @property
    def triggered(self) -> list[Any]:
        """The latest tests that were triggered in the work, the first one first, without expired ones."""
        return [test for test, _ in tuple(self._triggered) if not test.is_expired]

    @property
    def lingering(self) -> list[Any]:
        """The tests that were in force in blocks of the work, the latest first; none once it is closed."""
        return [] if self._closed else [test for test, lingers in reversed(tuple(self._triggered)) if lingers]

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

    __slots__ = ("_work",)

    def __init__(self, work: Work) -> None:
        super().__init__()
        self._work = work

    @property
    def tests(self) -> Iterator[Any]:
        return (test for test in self._work.lingering if not test.is_expired)


_open: Final[ContextVar[tuple[Block, ...]]] = ContextVar("livecheck_blocks", default=())


def tests_in_force() -> Iterator[Any]:
    """Yield the tests that the running code is part of, the innermost first; a test can occur twice."""
    for block in reversed(_open.get()):
        if not block.ended:
            yield from block.tests


def synthetic_case() -> str | None:
    """Return the name of the case whose fake request the running code is part of."""
    for block in reversed(_open.get()):
        if not block.ended and (name := block.synthetic_case) is not None:
            return name
    return None


def current_work() -> Work | None:
    """Return the work that the running code is part of."""
    for block in _open.get():
        if isinstance(block, Work) and not block.ended:
            return block
    return None
