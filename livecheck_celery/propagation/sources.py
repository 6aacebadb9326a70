"""Sources of automatic signals: the Celery tasks, web requests, Django signals and spans that send a signal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from livecheck_celery.models import TestExecution
from livecheck_celery.propagation.routes import Route

TASK: Final = "task"
REQUEST: Final = "request"
DJANGO: Final = "django"
SPAN: Final = "span"


class Source(NamedTuple):
    """An operation that can send automatic signals when it finishes.

    Attributes:
        kind: `TASK`, `REQUEST`, `DJANGO` or `SPAN`.
        name: the task's name, ``POST /order/{id}/``, ``path.of.signal app.Model field,field``, or the span's name.
    """

    kind: str
    name: str


class Target(NamedTuple):
    """A signal, by its case and its name."""

    case_name: str
    signal_name: str


class OperationFinished(Protocol):
    """Callback for an operation that finished as part of tests; neither raises nor blocks."""

    def __call__(
        self, kind: str, name: str, tests: Sequence[TestExecution], *, value: Any = None, error: str | None = None
    ) -> None:
        """Record that the operation finished.

        Args:
            kind: as for `Source`.
            name: as for `Source`; for a request, method and path, such as ``POST /order/1/``.
            tests: the tests that the operation was part of, or that were triggered in it.
            value: the operation's result.
            error: why the operation failed; None if it succeeded.
        """


class SourceIndex:
    """The automatic signals of all cases, by their source.

    Args:
        sources: by case name and signal name, the kind and the name of the signal's source.
        allows: whether this process sends automatic signals of a source; None for all.

    Attributes:
        refused: the other ones.
    """

    def __init__(
        self, sources: Mapping[str, Mapping[str, tuple[str, str]]], allows: Callable[[Source], bool] | None = None
    ) -> None:
        self.refused: set[Source] = set()
        self._exact: dict[Source, list[Target]] = defaultdict(list)
        self._routes: list[tuple[Route, Target]] = []
        for case_name, signals in sources.items():
            for signal_name, (kind, name) in signals.items():
                target = Target(case_name, signal_name)
                if allows is not None and not allows(Source(kind, name)):
                    self.refused.add(Source(kind, name))
                elif kind == REQUEST and "{" in name:
                    self._routes.append((Route(*name.split(" ", 1)), target))
                else:
                    self._exact[Source(kind, name)].append(target)

    def targets(self, source: Source) -> Sequence[Target]:
        """Return the signals to send when ``source`` finishes."""
        found = self._exact.get(source, [])
        if source.kind != REQUEST or not self._routes:
            return found
        return [*found, *(target for route, target in self._routes if route.match(source.name) is not None)]

    def names(self, kind: str) -> set[str]:
        """Return the names of all sources of ``kind``, except routes with placeholders."""
        return {source.name for source in self._exact if source.kind == kind}


def django_sources(cases: Iterable[Any], shared: SourceIndex | None) -> set[str]:
    """Return the names of the Django signals that are sources of ``cases``, declared in this process, or of others."""
    own = {
        signal.source.name
        for case in list(cases)
        for signal in case.signals.values()
        if signal.source is not None and signal.source.kind == DJANGO
    }
    return own | (shared.names(DJANGO) if shared else set())
