"""The Celery commands that run the cases of an app: ``doctor`` recommends them, ``dev`` starts them."""

from __future__ import annotations

import os
import shlex
from typing import NamedTuple

from livecheck_celery.base_livecheck import BaseLiveCheck
from livecheck_celery.default_app import NAME, default_app


class Program(NamedTuple):
    """A Celery program.

    Attributes:
        app: the value of Celery's ``-A``.
        arguments: the program, and its arguments.
        cases: modules of cases for the environment variable LIVECHECK_CASES; empty to leave it as it is.
    """

    app: str
    arguments: tuple[str, ...]
    cases: str = ""

    def __str__(self) -> str:
        """Return the command line, as a user types it."""
        variable = f"LIVECHECK_CASES={shlex.quote(self.cases)} " if self.cases else ""
        return variable + shlex.join(["celery", "-A", self.app, *self.arguments])


class Commands(NamedTuple):
    """The programs that run the cases of one app."""

    worker: Program
    beat: Program


def commands_for(livecheck: BaseLiveCheck, name: str | None) -> Commands:
    """Return the commands for the app of ``livecheck``; ``name`` is the value of ``-A``."""
    if name is None or livecheck.app is default_app():
        # The default app sets queues and pool itself.
        modules = [*os.environ.get("LIVECHECK_CASES", "").split(","), (name or NAME).partition(":")[0]]
        cases = ",".join(dict.fromkeys(module for module in modules if module and module != NAME))
        return Commands(Program(NAME, ("worker",), cases), Program(NAME, ("beat",), cases))
    settings = livecheck.settings
    queues = ("-Q", f"{settings.queue},{settings.schedule_queue}")
    pool = ("-P", "threads", "-c", str(settings.test_concurrency))
    return Commands(Program(name, ("worker", *queues, *pool)), Program(name, ("beat",)))
