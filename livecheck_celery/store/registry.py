"""Registry of the cases, and the shared configuration: overrides and sources, which every process reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from livecheck_celery.errors import InvalidPayload
from livecheck_celery.store.database import Database, as_dict, readable
from livecheck_celery.store.scripts import Script
from livecheck_celery.utils.sanitize import get_logger

logger = get_logger(__name__)

REGISTER: Final = Script("register", keys=("cases", "shared"), args=("name", "settings", "field", "sources"))
OVERRIDE: Final = Script("override", keys=("shared",), args=("field", "settings", "merge", "note", "expires_in"))
FORGET: Final = Script("forget", keys=("cases", "shared"), args=("name",))
SNAPSHOT: Final = Script("snapshot", keys=("shared",), args=("revision",))

_OVERRIDE: Final = "override:"
_SOURCES: Final = "sources:"
#: Field of an override with the note of each option.
_NOTES: Final = "notes"
#: Keys deleted in one round trip.
_BATCH: Final = 500


class Note(NamedTuple):
    """Who overrode an option of a case, why and for how long; times are Redis time, seconds since the epoch."""

    at: float
    by: str = ""
    reason: str = ""
    expires_at: float | None = None


class Snapshot(NamedTuple):
    """The shared configuration at one moment.

    Attributes:
        revision: changes with each change of the shared configuration.
        since: time of the first registration; empty if no case is registered. A changed value means that Redis lost its
            data.
        overrides: settings that were changed at run time, by case.
        sources: kind and name of the source of each automatic signal, by case and signal.
        notes: who set each override, by case and option.
    """

    revision: str
    since: str
    overrides: Mapping[str, Mapping[str, Any]]
    sources: Mapping[str, Mapping[str, tuple[str, str]]]
    notes: Mapping[str, Mapping[str, Note]]


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

    def override(
        self,
        case_name: str,
        settings: Mapping[str, Any],
        *,
        merge: bool = False,
        by: str = "",
        reason: str = "",
        expires_in: float | None = None,
    ) -> None:
        """Override settings of a case in every process; with empty ``settings``, remove the override.

        Args:
            case_name: full name of the case.
            settings: values of the options.
            merge: whether other options of an earlier override stay.
            by: who overrides them.
            reason: why.
            expires_in: seconds after which these options have their declared values again; None for never.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        call = OVERRIDE(
            shared=self._database.keys.shared,
            field=_OVERRIDE + case_name,
            settings=json.dumps(dict(settings)) if settings else None,
            merge=merge,
            note=json.dumps({"by": by, "reason": reason}),
            expires_in=expires_in,
        )
        self._database.run(call)

    def forget(self, case_name: str, test_ids: Iterable[str]) -> None:
        """Remove a case from the registry, and all its keys; a key of a test that is not in ``test_ids`` has a TTL.

        Takes several round trips. A process that declares the case registers it again when it starts.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        keys = self._database.keys
        self._database.run(FORGET(cases=keys.cases, shared=keys.shared, name=case_name))
        with self._database.errors_translated():
            is_open = self._database.client.zrangebyscore(keys.open(case_name), "-inf", "+inf")
        ids = list(dict.fromkeys([*is_open, *test_ids]))
        doomed = [key(case_name, test_id) for test_id in ids for key in (keys.test, keys.signals)]
        doomed += [key(case_name) for key in (keys.open, keys.suite, keys.runtime, keys.latency, keys.frequency)]
        doomed.append(keys.reports(case_name))
        for start in range(0, len(doomed), _BATCH):
            pipeline = self._database.pipeline()
            for key in doomed[start : start + _BATCH]:
                pipeline.delete(key)
            self._database.execute(pipeline)

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
        overrides={
            name: {option: value for option, value in override.items() if option != _NOTES}
            for name, override in _fields(fields, _OVERRIDE)
        },
        sources={
            case: {signal: (str(kind), str(name)) for signal, (kind, name) in value.items()}
            for case, value in _fields(fields, _SOURCES)
        },
        notes={
            name: {option: _note(note) for option, note in override.get(_NOTES, {}).items()}
            for name, override in _fields(fields, _OVERRIDE)
        },
    )


def _note(stored: Mapping[str, Any]) -> Note:
    expires_at = stored.get("expires_at")
    return Note(
        at=float(stored.get("at", 0)),
        by=str(stored.get("by", "")),
        reason=str(stored.get("reason", "")),
        expires_at=None if expires_at is None else float(expires_at),
    )


def _fields(fields: Mapping[str, str], prefix: str) -> list[tuple[str, Any]]:
    return [(name.removeprefix(prefix), json.loads(text)) for name, text in fields.items() if name.startswith(prefix)]
