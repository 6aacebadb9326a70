"""The cases that commands read: those declared in this process, and those registered by workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from livecheck_celery.base_livecheck import BaseLiveCheck
from livecheck_celery.cases.base_case import BaseCase
from livecheck_celery.cli import console
from livecheck_celery.cli.discovery import distinct, find_livechecks
from livecheck_celery.cli.errors import CliError, unknown_name
from livecheck_celery.store import Store
from livecheck_celery.store.registry import Note


class KnownCase(NamedTuple):
    """A case that this process declares, or that a worker has registered in Redis.

    Attributes:
        store: the store that holds its state.
        settings: the settings the workers use; the declared ones while no worker has registered the case. Includes
            overrides, whose names are listed under ``overridden``.
        notes: who set each override, by option.
        declared: whether a running worker declares the case; None if that is not known, as no worker runs.
    """

    store: Store
    settings: dict[str, Any]
    notes: Mapping[str, Note]
    declared: bool | None

    @property
    def expects_tests(self) -> bool:
        """Whether silence of the case is a failure: it is active, and a worker can run its tests, or none runs."""
        return bool(self.settings.get("active", True)) and self.declared is not False


def known_cases(livechecks: Sequence[BaseLiveCheck]) -> dict[str, KnownCase]:
    """Return the cases of ``livechecks`` by name, sorted, including those this process has not imported.

    Raises:
        RedisUnavailable: Redis did not answer.
    """
    found: dict[str, tuple[BaseLiveCheck, BaseCase]] = {}
    for each in livechecks:
        found |= {name: (each, case) for name, case in each.cases.items()}
    known: dict[str, KnownCase] = {}
    for each in distinct(livechecks, "redis_url", "prefix"):
        store = each.runtime.store
        settings = store.registry.cases()
        for name, (owner, case) in found.items():
            if name not in settings and _shares_state(owner, each):
                settings[name] = case.describe()
        snapshot = store.registry.snapshot()
        declared = store.liveness.declared_cases(store.liveness.processes())
        for name, values in settings.items():
            overrides = dict(snapshot.overrides.get(name, {})) if snapshot else {}
            notes = snapshot.notes.get(name, {}) if snapshot else {}
            merged = {**values, **overrides, "overridden": sorted(overrides)} if overrides else values
            known[name] = KnownCase(store, merged, notes, None if declared is None else name in declared)
    return dict(sorted(known.items()))


def override_lines(name: str, case: KnownCase) -> list[str]:
    """Describe each override of a case: the option, its value, who set it, until when and why."""
    now = case.store.time() if case.notes else 0.0
    lines = []
    for option in case.settings.get("overridden", ()):
        note = case.notes.get(option)
        parts = [f"{name}: {option} is overridden with {case.settings[option]}"]
        if note is not None:
            parts += [f"by {note.by}"] if note.by else []
            parts += [f"{console.rounded(max(0.0, now - note.at))} ago"]
            parts += [f"until {console.clock(note.expires_at)}"] if note.expires_at is not None else []
        lines.append(", ".join(parts) + (f": {note.reason}" if note is not None and note.reason else ""))
    return lines


def undeclared_line(name: str, case: KnownCase) -> str:
    """Return the hint for a case that no running worker declares; empty for another one."""
    if case.declared is not False:
        return ""
    return f"{name}: no running worker declares it; start one that does, or remove it with `livecheck forget {name}`"


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


def complete_case(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a case in a shell: full names, and last parts; nothing if Redis does not answer."""
    try:
        names = list(known_cases(find_livechecks(ctx)))
    except Exception:  # noqa: BLE001 - a shell shows nothing else while it completes
        return []
    spellings = dict.fromkeys([*names, *(name.rpartition(".")[2] for name in names)])
    return [CompletionItem(one) for one in spellings if one.startswith(incomplete)]


def _shares_state(one: BaseLiveCheck, other: BaseLiveCheck) -> bool:
    return (one.settings.redis_url, one.settings.prefix) == (other.settings.redis_url, other.settings.prefix)
