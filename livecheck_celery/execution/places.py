"""Places in user code: where an exception was raised, and what a thread is doing."""

from __future__ import annotations

import linecache
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from itertools import dropwhile, islice
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any, Final, NamedTuple

from livecheck_celery.utils.sanitize import sanitize
from livecheck_celery.utils.secrets import without_url_secrets

_OURS: Final = f"{Path(__file__).parent.parent}/"
_EXAMPLES: Final = f"{_OURS}_examples/"  # of the wheel, for `livecheck demo`
_STANDARD: Final = tuple(f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib"))
_INSTALLED: Final = ("/site-packages/", "/dist-packages/")
_MAX_SOURCE: Final = 200
#: Causes of an error that are looked at; a chain of causes can be circular.
_MAX_CAUSES: Final = 20
# What is stored, whatever the class of an error makes of it.
_TRACEBACK: Final[Any] = vars(BaseException)["__traceback__"]
_CAUSE: Final[Any] = vars(BaseException)["__cause__"]


class Place(NamedTuple):
    """A frame of user code, and what it executes.

    Attributes:
        frame: the frame.
        line: the line.
        instruction: the index of the bytecode instruction; -1 if unknown.
    """

    frame: FrameType
    line: int
    instruction: int = -1

    @property
    def code(self) -> CodeType:
        """The code of the frame."""
        return self.frame.f_code

    @property
    def source(self) -> str:
        """The text of the line, without the secrets of URLs; empty if it is not available."""
        line = linecache.getline(self.code.co_filename, self.line, self.frame.f_globals)
        return without_url_secrets(line.strip())

    def __str__(self) -> str:
        return sanitize(f"{Path(self.code.co_filename).name}:{self.line}")


def raised_at(error: BaseException) -> Place | None:
    """Return where user code raised ``error``, or called the library that did; None if no user code did.

    An error that has passed no user code, such as the one that Python makes of a ``StopIteration`` in a coroutine, has
    the place of its cause.
    """
    causes = islice(_with_causes(error), _MAX_CAUSES)
    return next((place for each in causes if (place := _innermost(_frames(each)))), None)


def current_place(thread_id: int | None) -> str:
    """Describe the line that a thread is executing, as ``, at checks.py:12 in run(): …``; empty if unknown."""
    frame = sys._current_frames().get(thread_id or 0)  # noqa: SLF001 - documented API despite its name
    if frame is None:
        return ""
    # What called LiveCheck is Celery's worker, another installed package.
    return _described(_innermost(dropwhile(lambda place: not place.code.co_filename.startswith(_OURS), _stack(frame))))


def awaiting_place(awaitable: Any) -> str:
    """Describe the line at which a coroutine waits, as `current_place` does; empty if unknown."""
    places = []
    while (frame := getattr(awaitable, "cr_frame", None) or getattr(awaitable, "gi_frame", None)) is not None:
        places.append(Place(frame, frame.f_lineno))
        awaitable = getattr(awaitable, "cr_await", None) or getattr(awaitable, "gi_yieldfrom", None)
    return _described(_innermost(places))


def _described(place: Place | None) -> str:
    if place is None:
        return ""
    code = place.code
    where = f"{code.co_filename}:{place.line} in {code.co_name}()"
    return sanitize(f", at {where}: {place.source[:_MAX_SOURCE]}".rstrip(": "))


def place_inside(code: CodeType | None, frame: FrameType) -> Place | None:
    """Return the line of user code that ``frame`` is executing in a call of ``code``; None if it is in no such call."""
    return _innermost(dropwhile(lambda place: place.code is not code, _stack(frame)))


def in_brackets(place: Place | None) -> str:
    """Return the end of an error that was raised at ``place``; empty if that is unknown."""
    return "" if place is None else f" ({place})"


def _stack(frame: FrameType) -> list[Place]:
    """Return the calls that lead to ``frame``, the outermost first."""
    return [Place(each, line) for each, line in traceback.walk_stack(frame)][::-1]


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    while one is not None:
        yield one
        one = _CAUSE.__get__(one)


def _frames(error: BaseException) -> Iterator[Place]:
    trace: TracebackType | None = _TRACEBACK.__get__(error)
    while trace is not None:
        yield Place(trace.tb_frame, trace.tb_lineno, trace.tb_lasti)
        trace = trace.tb_next


def _innermost(places: Iterable[Place]) -> Place | None:
    """Return the innermost of ``places`` that is in the user's code; None without one.

    A case can be installed as a package: code of its folder is the user's, other installed packages are libraries.
    """
    own = [place for place in places if _is_own(place)]
    if not own:
        return None
    first = _folder(own[0])
    return next((place for place in reversed(own) if not _is_installed(place) or _folder(place) == first), own[-1])


def _is_own(place: Place) -> bool:
    file = place.code.co_filename
    if file.startswith(_OURS):
        return file.startswith(_EXAMPLES)
    # Installed packages are in a folder of the standard library's, too.
    return _is_installed(place) or not file.startswith((*_STANDARD, "<frozen"))


def _is_installed(place: Place) -> bool:
    return any(folder in place.code.co_filename for folder in _INSTALLED)


def _folder(place: Place) -> str:
    """Return the top-level package of an installed module."""
    for folder in _INSTALLED:
        _, found, rest = place.code.co_filename.partition(folder)
        if found:
            return rest.partition("/")[0]
    return ""
