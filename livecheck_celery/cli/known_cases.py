"""The cases that commands read: those declared in this process, and those registered by workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from livecheck_celery.cli.discovery import distinct
from livecheck_celery.cli.errors import CliError, unknown_name
from livecheck_celery.livecheck import LiveCheck
from livecheck_celery.store import Store


class KnownCase(NamedTuple):
    """A case that this process declares, or that a worker has registered in Redis.

    Attributes:
        store: the store that holds its state.
        settings: the settings the workers use; the declared ones while no worker has registered the case. Includes
            overrides, whose names are listed under ``overridden``.
    """

    store: Store
    settings: dict[str, Any]


def known_cases(livechecks: Sequence[LiveCheck]) -> dict[str, KnownCase]:
    """Return the cases of ``livechecks`` by name, sorted, including those this process has not imported.

    Raises:
        RedisUnavailable: Redis did not answer.
    """
    known: dict[str, KnownCase] = {}
    for each in livechecks:
        known |= {name: KnownCase(each.runtime.store, case.describe()) for name, case in each.cases.items()}
    for each in distinct(livechecks, "redis_url", "prefix"):
        store = each.runtime.store
        known |= {name: KnownCase(store, settings) for name, settings in store.registry.cases().items()}
        snapshot = store.registry.snapshot()
        for name, overrides in snapshot.overrides.items() if snapshot else ():
            if name in known:
                known[name].settings.update({**overrides, "overridden": sorted(overrides)})
    return dict(sorted(known.items()))


def full_case_name(name: str, names: Sequence[str], *, otherwise: str = "") -> str:
    """Find the case that ``name`` refers to: a full name, or the last parts of a dotted name.

    Args:
        name: what the user typed.
        names: full names of all cases.
        otherwise: hint of the error when no case has a similar name.

    Raises:
        CliError: no case matches, or more than one does.
    """
    if name in names:
        return name
    matching = [full for full in names if full.endswith(f".{name}")]
    if len(matching) > 1:
        raise CliError(f"ambiguous case name {name!r}: {' or '.join(matching)}", "give the full name")
    if not matching:
        raise unknown_name("case", name, names, otherwise=otherwise)
    return matching[0]
