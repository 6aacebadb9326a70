"""Checks of what Redis holds: values that LiveCheck did not write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from livecheck_celery.base_livecheck import BaseLiveCheck
from livecheck_celery.cli.doctor.findings import Finding, warning
from livecheck_celery.cli.known_cases import known_cases
from livecheck_celery.errors import LiveCheckError

#: Reports that are read of each case.
_REPORTS: Final = 100
#: Places that are listed.
_LISTED: Final = 10
FIX: Final = (
    "delete it with a Redis client; only LiveCheck may write to keys of livecheck_prefix, see docs/servers.md for the "
    "permissions of other users"
)


def check_data(livecheck: BaseLiveCheck) -> Iterator[Finding]:
    """Read what commands, workers and services read, and name each value that they skip."""
    store = livecheck.runtime.store
    try:
        known = known_cases([livecheck])
        for name in known:
            store.suites.statistics(name)
        store.suites.health(dict.fromkeys(known))
        store.reports.latest(None, count=_REPORTS)
    except LiveCheckError as exc:
        yield Finding(False, "data", str(exc))
        return
    places = store.unreadable.places
    for place, problem in list(places.items())[:_LISTED]:
        yield warning("data", f"Redis key {place} is skipped, as LiveCheck did not write it: {problem}", FIX)
    if len(places) > _LISTED:
        yield warning("data", f"{len(places) - _LISTED} more values are skipped")
    if not places:
        yield Finding(True, "data", "every value in Redis can be read")
