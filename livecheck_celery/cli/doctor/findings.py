"""Findings of the checks of ``doctor``."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """The result of one check, printed on one line.

    Attributes:
        ok: whether tests can run; False makes ``doctor`` exit with 1.
        subject: what was checked.
        found: what was found.
        fix: how to fix the problem, or where to read more; can be empty.
        warn: whether something needs attention, although tests can run.
    """

    ok: bool
    subject: str
    found: str
    fix: str = ""
    warn: bool = False

    @property
    def level(self) -> str:
        """``ok``, ``warn`` or ``error``."""
        return "error" if not self.ok else "warn" if self.warn else "ok"


def warning(subject: str, found: str, fix: str = "") -> Finding:
    """Return a finding that needs attention, although tests can run."""
    return Finding(True, subject, found, fix, warn=True)
