"""Whether tasks are executed where they are sent, in the tests of a host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_NAME = "task_always_eager"


class EagerSetting:
    """The setting ``task_always_eager`` of one Celery app, in a quarter of the time of ``app.conf``.

    Each request under test reads it. A configuration of Celery is a list of mappings; for each name, it raises and
    catches an exception in each of them, and derives the names that the setting has had.
    """

    def __init__(self) -> None:
        self._maps: Sequence[Any] | None = None
        self._names: Sequence[str] = ()

    def of(self, app: Any) -> bool:
        """Return the setting of ``app``."""
        conf = app.conf
        maps = getattr(conf, "maps", None)
        if maps is not self._maps:
            if not hasattr(conf, "_to_keys"):
                return bool(conf.task_always_eager)
            self._names = tuple(dict.fromkeys(conf._to_keys(_NAME)))  # noqa: SLF001 - with its namespace
            self._maps = maps
        for mapping in maps or ():
            for name in self._names:
                if name in mapping:
                    return bool(mapping[name])
        return bool(conf.task_always_eager)
