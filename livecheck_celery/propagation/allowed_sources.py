"""Which automatic signals a process sends: the wiring comes from Redis, and decides no more than the process allows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from livecheck_celery.propagation.sources import DJANGO, Source

#: In place of the label of a model: every sender, in a source with fields.
_ANY: Final = "*"


class AllowedSources:
    """The sources that a process allows: those that its own cases declare, and those that match a pattern.

    Args:
        patterns: as in the setting ``allow_sources``; ``*`` stands for any text.
        cases: the cases that this process declares, which can still grow.
    """

    def __init__(self, patterns: Iterable[str], cases: Mapping[str, Any]) -> None:
        self._exact = frozenset(patterns)
        self._pattern = re.compile("|".join(map(_expression, self._exact)), re.DOTALL)
        self._cases = cases

    def __call__(self, source: Source) -> bool:
        """Return whether this process sends automatic signals of ``source``."""
        named = f"{source.kind}:{source.name}"
        if named in self._exact or source in self._declared():
            return True
        # A pattern can mean the models of an application; every sender includes those of its users and sessions.
        return bool(self._exact) and not _is_of_every_sender(source) and self._pattern.fullmatch(named) is not None

    def _declared(self) -> set[Source]:
        signals = [signal for case in list(self._cases.values()) for signal in case.signals.values()]
        return {signal.source for signal in signals if signal.source is not None}


def _expression(pattern: str) -> str:
    """Return a regular expression for ``pattern``; its groups are atomic, so that each ``*`` is tried once."""
    first, *others = map(re.escape, pattern.split("*"))
    if not others:
        return first
    between = "".join(f"(?>.*?{each})" for each in others[:-1])
    return f"{first}{between}.*{others[-1]}"


def _is_of_every_sender(source: Source) -> bool:
    _, _, rest = source.name.partition(" ")
    return source.kind == DJANGO and rest.partition(" ")[0] in ("", _ANY)
