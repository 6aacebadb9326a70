"""Registry of the cases, and the shared configuration: overrides and sources, which every process reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from livecheck_celery.errors import InvalidPayload
from livecheck_celery.store.database import Database, as_dict, readable
from livecheck_celery.store.scripts import Script
from livecheck_celery.utils.sanitize import get_logger

logger = get_logger(__name__)

REGISTER: Final = Script("register", keys=("cases", "shared"), args=("name", "settings", "field", "sources"))
OVERRIDE: Final = Script("override", keys=("shared",), args=("field", "settings"))
SNAPSHOT: Final = Script("snapshot", keys=("shared",), args=("revision",))

_OVERRIDE: Final = "override:"
_SOURCES: Final = "sources:"


class Snapshot(NamedTuple):
    """The shared configuration at one moment.

    Attributes:
        revision: changes with each change of the shared configuration.
        since: time of the first registration; empty if no case is registered. A changed value means that Redis lost its
            data.
        overrides: settings that were changed at run time, by case.
        sources: kind and name of the source of each automatic signal, by case and signal.
    """

    revision: str
    since: str
    overrides: Mapping[str, Mapping[str, Any]]
    sources: Mapping[str, Mapping[str, tuple[str, str]]]


class Registry:
    """Registered cases, and the shared configuration."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, case_name: str, settings: Mapping[str, Any]) -> None:
        """Make a case and its settings known to processes that have not imported it.

        Raises:
            InvalidPayload: the settings are not JSON.
            RedisUnavailable: Redis did not answer.
        """
        try:
            text = json.dumps(dict(settings))
        except (TypeError, ValueError) as exc:
            raise InvalidPayload(f"{case_name}: the settings are not JSON: {exc}") from None
        sources = settings.get("sources")
        call = REGISTER(
            cases=self._database.keys.cases,
            shared=self._database.keys.shared,
            name=case_name,
            settings=text,
            field=_SOURCES + case_name,
            sources=json.dumps(sources) if sources else None,
        )
        self._database.run(call)

    def cases(self) -> dict[str, dict[str, Any]]:
        """Read the settings of every registered case, by name; settings that cannot be parsed are logged and skipped.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        key = self._database.keys.cases
        with self._database.errors_translated():
            stored: Any = self._database.client.hgetall(key)
        cases: dict[str, dict[str, Any]] = {}
        for name, text in sorted(stored.items()):
            try:
                cases[name] = dict(json.loads(text))
            except (TypeError, ValueError):
                logger.warning("registry: Redis key %s, field %s, holds something LiveCheck did not write", key, name)
        return cases

    def override(self, case_name: str, settings: Mapping[str, Any]) -> None:
        """Override settings of a case in every process; with empty ``settings``, remove the override.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        text = json.dumps(dict(settings)) if settings else None
        self._database.run(OVERRIDE(shared=self._database.keys.shared, field=_OVERRIDE + case_name, settings=text))

    def snapshot(self, revision: str = "none") -> Snapshot | None:
        """Read the shared configuration; return None if ``revision`` is still current.

        Raises:
            UnreadableData: a stored value cannot be parsed.
            RedisUnavailable: Redis did not answer.
        """
        key = self._database.keys.shared
        found = self._database.run(SNAPSHOT(shared=key, revision=revision))
        return None if found is None else readable(key, lambda: _parse(found))


def _parse(found: list[str]) -> Snapshot:
    fields = as_dict(found)
    return Snapshot(
        revision=fields.pop("revision", ""),
        since=fields.pop("since", ""),
        overrides={name: dict(value) for name, value in _fields(fields, _OVERRIDE)},
        sources={
            case: {signal: (str(kind), str(name)) for signal, (kind, name) in value.items()}
            for case, value in _fields(fields, _SOURCES)
        },
    )


def _fields(fields: Mapping[str, str], prefix: str) -> list[tuple[str, Any]]:
    return [(name.removeprefix(prefix), json.loads(text)) for name, text in fields.items() if name.startswith(prefix)]
