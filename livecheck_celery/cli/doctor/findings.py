"""Findings of the checks of ``doctor``, and the commands that they recommend."""

from __future__ import annotations

from typing import NamedTuple

from livecheck_celery.default_app import default_app
from livecheck_celery.livecheck import LiveCheck


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


class Commands(NamedTuple):
    """The command lines that start a worker and beat for one app."""

    worker: str
    beat: str


def commands_for(livecheck: LiveCheck, name: str | None) -> Commands:
    """Return the commands for the app of ``livecheck``; ``name`` is the value of ``-A``."""
    if livecheck.app is default_app():
        module = (name or "livecheck_celery").partition(":")[0]
        cases = f"LIVECHECK_CASES={module} " if module != "livecheck_celery" else ""
        celery = f"{cases}celery -A livecheck_celery"
        return Commands(f"{celery} worker", f"{celery} beat")
    settings = livecheck.settings
    celery = f"celery -A {name}"
    queues = f"-Q {settings.queue},{settings.schedule_queue} -P threads -c {settings.test_concurrency}"
    return Commands(f"{celery} worker {queues}", f"{celery} beat")
