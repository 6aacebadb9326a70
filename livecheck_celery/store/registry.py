"""What every process is to know of the cases: that they are there, what was changed at run time, what to tell of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from livecheck_celery.errors import InvalidPayload
from livecheck_celery.store.database import Part, as_dict, readable
from livecheck_celery.utils.sanitize import get_logger

logger = get_logger(__name__)

#: Seconds after which the tally begins anew.
TALLY_TTL: Final = 24 * 3600

_OVERRIDE: Final = "override:"
_SOURCES: Final = "sources:"


class Wired(NamedTuple):
    """What every process is to know, as of one moment.

    Attributes:
        revision: changes with the rest.
        since: when the first case was made known; empty when none is. Another one means that everything was lost.
        overrides: by case, the settings that were changed at run time.
        sources: by case and signal, the kind and the name of what resolves it.
    """

    revision: str
    since: str
    overrides: Mapping[str, Mapping[str, Any]]
    sources: Mapping[str, Mapping[str, tuple[str, str]]]


class Tallied(NamedTuple):
    """What all processes counted lately: ``counts`` by reason, in the last ``age`` seconds."""

    age: float
    counts: Mapping[str, int]


class Wiring(Part):
    """The cases, and what goes from them to all processes."""

    def register(self, case_name: str, settings: Mapping[str, Any]) -> None:
        """Make a case and its settings known to processes that have not imported it.

        Raises:
            InvalidPayload: the settings are not JSON.
            RedisUnavailable: Redis did not take them.
        """
        try:
            text = json.dumps(dict(settings))
        except (TypeError, ValueError) as exc:
            raise InvalidPayload(f"{case_name}: the settings are not JSON: {exc}") from None
        sources = settings.get("sources")
        kept = json.dumps(sources) if sources else None
        self._run(
            self._scripts.register, [self.keys.cases, self.keys.wiring], [case_name, text, _SOURCES + case_name, kept]
        )

    def cases(self) -> dict[str, dict[str, Any]]:
        """Settings of every case ever registered, by name; one that cannot be read is logged and left out.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        with self.reaching():
            stored: Any = self.client.hgetall(self.keys.cases)
        cases: dict[str, dict[str, Any]] = {}
        for name, text in sorted(stored.items()):
            try:
                cases[name] = dict(json.loads(text))
            except (TypeError, ValueError):
                logger.warning("Redis key %s, field %s, holds something LiveCheck did not write", self.keys.cases, name)
        return cases

    def override(self, case_name: str, settings: Mapping[str, Any]) -> None:
        """Have every process use ``settings`` for the case instead of its own; empty, its own again.

        Raises:
            RedisUnavailable: Redis did not take them.
        """
        text = json.dumps(dict(settings)) if settings else None
        self._run(self._scripts.override, [self.keys.wiring], [_OVERRIDE + case_name, text])

    def wired(self, revision: str = "none") -> Wired | None:
        """What every process is to know; None when that still is of ``revision``.

        Raises:
            InvalidPayload: what is stored cannot be read.
            RedisUnavailable: Redis did not answer.
        """
        found = self._run(self._scripts.wired, [self.keys.wiring], [revision])
        return None if found is None else readable(self.keys.wiring, lambda: _read(found))

    def tally(self, counts: Mapping[str, int]) -> None:
        """Add ``counts``, by reason, to what all processes counted.

        Raises:
            RedisUnavailable: Redis did not take them.
        """
        added = [part for reason, count in counts.items() for part in (reason, count)]
        self._run(self._scripts.tally, [self.keys.tally], [TALLY_TTL, *added])

    def tallied(self) -> Tallied:
        """What all processes counted in the last day.

        Raises:
            InvalidPayload: what is stored cannot be read.
            RedisUnavailable: Redis did not answer.
        """
        now, [found] = self._read(self.keys.tally)

        def read() -> Tallied:
            counts = as_dict(found)
            since = float(counts.pop("since", now))
            return Tallied(max(0.0, int(now) - since), {name: int(count) for name, count in counts.items()})

        return readable(self.keys.tally, read)


def _read(found: list[str]) -> Wired:
    fields = as_dict(found)
    return Wired(
        revision=fields.pop("revision", ""),
        since=fields.pop("since", ""),
        overrides={name: dict(value) for name, value in _of(fields, _OVERRIDE)},
        sources={
            case: {signal: (str(kind), str(name)) for signal, (kind, name) in value.items()}
            for case, value in _of(fields, _SOURCES)
        },
    )


def _of(fields: Mapping[str, str], kind: str) -> list[tuple[str, Any]]:
    return [(name.removeprefix(kind), json.loads(text)) for name, text in fields.items() if name.startswith(kind)]
