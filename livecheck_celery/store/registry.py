"""Registry of the cases, and the shared configuration: overrides and sources, which every process reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Annotated, Any, Final, NamedTuple

from pydantic import Field, TypeAdapter

from livecheck_celery.config import OVERRIDABLE
from livecheck_celery.errors import InvalidPayload, UnreadableKey
from livecheck_celery.store.database import Database, as_dict
from livecheck_celery.store.open_cases import passes_of
from livecheck_celery.store.registered import checked, checked_settings, checked_sources
from livecheck_celery.store.scripts import Script
from livecheck_celery.store.unreadable import parse
from livecheck_celery.utils.signing import Signatures

REGISTER: Final = Script(
    "register", keys=("cases", "shared"), args=("name", "settings", "field", "sources", "signature")
)
OVERRIDE: Final = Script("override", keys=("shared",), args=("name", "merge", "expires_at", "*overrides"))
FORGET: Final = Script("forget", keys=("cases", "shared"), args=("name",))
SNAPSHOT: Final = Script("snapshot", keys=("shared",), args=("revision",))

_OVERRIDE: Final = "override:"
_SOURCES: Final = "sources:"
#: Field with the signature of another field, which is JSON, signed or not: earlier versions read it, too.
_SIGNATURE: Final = "signature:"
_SALT: Final = "livecheck-celery.shared"

#: Why a process with a `secret_key` ignores a field: nobody signed it, or none of its keys did.
UNSIGNED, FORGED = "unsigned", "forged"
#: Keys deleted in one round trip.
_BATCH: Final = 500


#: A time that can be printed.
Time = Annotated[float, Field(ge=0, le=1e11)]


class Note(NamedTuple):
    """Who overrode an option of a case, why and for how long; times are Redis time, seconds since the epoch."""

    at: Time
    by: str = ""
    reason: str = ""
    expires_at: Time | None = None


NOTE: Final = TypeAdapter(Note)


class Snapshot(NamedTuple):
    """The shared configuration at one moment.

    Attributes:
        revision: changes with each change of the shared configuration.
        since: time of the first registration; empty if no case is registered. A changed value means that Redis lost its
            data.
        overrides: settings that were changed at run time, by case.
        sources: kind and name of the source of each automatic signal, by case and signal.
        notes: who set each override, by case and option.
        refused: why a field is ignored, by its name: it is `UNSIGNED` or `FORGED`.
    """

    revision: str
    since: str
    overrides: dict[str, dict[str, Any]]
    sources: dict[str, dict[str, tuple[str, str]]]
    notes: dict[str, dict[str, Note]]
    refused: dict[str, str]


class Registry:
    """Registered cases, and the shared configuration."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._signatures = Signatures(database.settings.secret_key, _SALT)

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
        field, sources = _SOURCES + case_name, json.dumps(settings["sources"]) if settings.get("sources") else None
        call = REGISTER(
            cases=self._database.keys.cases,
            shared=self._database.keys.shared,
            name=case_name,
            settings=text,
            field=field,
            sources=sources,
            signature=self._signature(field, sources) if sources else None,
        )
        self._database.run(call)

    def cases(self) -> dict[str, dict[str, Any]]:
        """Read the settings of every registered case, by name; those that cannot be parsed are skipped.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        key = self._database.keys.cases
        pipeline = self._database.pipeline()
        pipeline.hgetall(key)
        [stored] = self._database.execute_each(pipeline, [key])
        cases: dict[str, dict[str, Any]] = {}
        for name, text in sorted((stored or {}).items()):
            try:
                cases[name] = checked_settings(dict(parse(text)), partial(self._skip, key, name))
            except (TypeError, ValueError) as exc:
                self._skip(key, name, "", exc)
        return cases

    def _skip(self, key: str, field: str, part: str, problem: Exception) -> None:
        self._database.unreadable.skip(key, f"{part}: {problem}" if part else problem, field=field)

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

        Takes two round trips, since the time is part of what is signed.

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
        at = self._now() if settings else 0.0
        note = Note(at, by, reason, None if expires_in is None else at + expires_in)
        stored: list[str] = []
        for option, value in settings.items():
            field, text = f"{_OVERRIDE}{option}:{case_name}", json.dumps({"value": value, **note._asdict()})
            stored += [field, text, self._signature(field, text)]
        call = OVERRIDE(
            shared=self._database.keys.shared,
            name=case_name,
            merge=merge and bool(settings),
            expires_at=note.expires_at,
            overrides=stored,
        )
        self._database.run(call)

    def sign_again(self, case_name: str) -> list[str]:
        """Sign the overrides of a case with the first key, and return the options; not those that no key has signed.

        Values, authors, reasons and ends stay.

        Raises:
            RedisUnavailable: Redis did not answer, or the shared configuration has another type.
        """
        key = self._database.keys.shared
        found = as_dict(self._database.run(SNAPSHOT(shared=key, revision="none")))
        options, overrides = [], []
        for field, text in found.items():
            option, _, name = field.removeprefix(_OVERRIDE).partition(":")
            is_own = field.startswith(_OVERRIDE) and name == case_name
            if is_own and not self._refusal(field, text, found.get(_SIGNATURE + field)):
                options.append(option)
                overrides += [field, text, self._signature(field, text)]
        if overrides:
            self._database.run(OVERRIDE(shared=key, name=case_name, merge=True, expires_at=None, overrides=overrides))
        return sorted(options)

    def _signature(self, field: str, text: str) -> str:
        """Return the signature of the text in a field; empty if this process has no key."""
        return self._signatures.sign(self._signed_text(field, text)) if self._signatures else ""

    def _signed_text(self, field: str, text: str) -> str:
        # With the key and the field, so that no value can be moved to another environment, case or option.
        return json.dumps([self._database.keys.shared, field, text])

    def _refusal(self, field: str, text: str, signature: str | None) -> str:
        """Return why the text in a field is refused; empty if it is not. A process without a key refuses none."""
        if not self._signatures:
            return ""
        if not signature:
            return UNSIGNED
        return "" if self._signatures.is_genuine(signature, self._signed_text(field, text)) else FORGED

    def _now(self) -> float:
        with self._database.errors_translated():
            seconds, microseconds = self._database.client.time()
        return float(seconds + microseconds / 1_000_000)

    def forget(self, case_name: str, test_ids: Iterable[str]) -> None:
        """Remove a case from the registry, and its keys.

        Its tests are those of ``test_ids``, those that are open, and those that have signals only. Records of others
        have their verdict, and expire after two minutes. Takes several round trips. A process that declares the case
        registers it again when it starts.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        keys = self._database.keys
        self._database.run(FORGET(cases=keys.cases, shared=keys.shared, name=case_name))
        indexes = [keys.open(case_name), keys.unrecorded(case_name)]
        pipeline = self._database.pipeline()
        for index in indexes:
            pipeline.zrange(index, 0, -1)
        found = self._database.execute_each(pipeline, indexes)
        ids = {*test_ids, *(test_id for members in found for test_id in members or ())}
        doomed = [key(case_name, test_id) for test_id in ids for key in (keys.test, keys.signals)]
        with self._database.errors_translated():
            self._database.client.zrem(keys.open_cases, case_name)
            self._database.client.hdel(keys.checks, case_name, passes_of(case_name))
        doomed += keys.of_case(case_name)  # last, so that a call that fails can be repeated
        for start in range(0, len(doomed), _BATCH):
            pipeline = self._database.pipeline()
            for key in doomed[start : start + _BATCH]:
                pipeline.delete(key)
            self._database.execute(pipeline)

    def snapshot(self, revision: str = "none") -> Snapshot | None:
        """Read the shared configuration, without what cannot be parsed; return None if ``revision`` is still current.

        Also returns None if its key has another type.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        key = self._database.keys.shared
        try:
            found = self._database.run(SNAPSHOT(shared=key, revision=revision))
        except UnreadableKey as exc:
            self._database.unreadable.skip(key, exc)
            return None
        return None if found is None else self._parse(as_dict(found))

    def _parse(self, fields: dict[str, str]) -> Snapshot:
        key = self._database.keys.shared
        snapshot = Snapshot(fields.pop("revision", ""), fields.pop("since", ""), {}, {}, {}, {})
        for field, text in fields.items():
            if not field.startswith((_OVERRIDE, _SOURCES)):
                continue
            if refused := self._refusal(field, text, fields.get(_SIGNATURE + field)):
                snapshot.refused[field] = refused
                continue
            try:
                if field.startswith(_SOURCES):
                    sources = checked_sources(dict(parse(text)), partial(self._skip, key, field))
                    snapshot.sources[field.removeprefix(_SOURCES)] = sources
                else:
                    option, _, name = field.removeprefix(_OVERRIDE).partition(":")
                    value, note = _override(option, parse(text))
                    snapshot.overrides.setdefault(name, {})[option] = value
                    snapshot.notes.setdefault(name, {})[option] = note
            except (TypeError, ValueError) as exc:
                self._skip(key, field, "", exc)
        return snapshot


def _override(option: str, stored: Any) -> tuple[Any, Note]:
    """Parse an override.

    Raises:
        TypeError, ValueError: LiveCheck did not write it.
    """
    if option not in OVERRIDABLE:
        raise ValueError(f"the option {option!r} cannot be overridden")
    fields = dict(stored)
    value = checked(option, fields.pop("value", None))
    return value, NOTE.validate_python(fields)
