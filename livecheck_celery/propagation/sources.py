"""What resolves a signal by itself: a Celery task, a web request, a Django signal or a span."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

TASK: Final = "task"
REQUEST: Final = "request"
DJANGO: Final = "django"
SPAN: Final = "span"

_PLACEHOLDER: Final = re.compile(r"\\\{\w+\\\}")


class Source(NamedTuple):
    """Something that happens anyway.

    Attributes:
        kind: `TASK`, `REQUEST`, `DJANGO` or `SPAN`.
        name: the task's name, ``POST /order/{id}/``, ``path.of.signal app.Model``, or the span's name.
    """

    kind: str
    name: str


class Target(NamedTuple):
    """A signal, by its case and its name."""

    case_name: str
    signal_name: str


class Wanted:
    """Which signals are resolved by what.

    Args:
        sources: by case and signal, the kind and the name of what resolves it.
    """

    def __init__(self, sources: Mapping[str, Mapping[str, tuple[str, str]]]) -> None:
        self._exact: dict[Source, list[Target]] = defaultdict(list)
        self._routes: list[tuple[re.Pattern[str], Target]] = []
        for case_name, signals in sources.items():
            for signal_name, (kind, name) in signals.items():
                target = Target(case_name, signal_name)
                if kind == REQUEST and "{" in name:
                    self._routes.append((re.compile(_PLACEHOLDER.sub("[^/]+", re.escape(name))), target))
                else:
                    self._exact[Source(kind, name)].append(target)

    def targets(self, source: Source) -> Sequence[Target]:
        """The signals that ``source`` resolves."""
        found = self._exact.get(source, [])
        if source.kind != REQUEST or not self._routes:
            return found
        return [*found, *(target for route, target in self._routes if route.fullmatch(source.name))]

    def names(self, kind: str) -> set[str]:
        """Names of all that is of ``kind``, without routes that have placeholders."""
        return {source.name for source in self._exact if source.kind == kind}
