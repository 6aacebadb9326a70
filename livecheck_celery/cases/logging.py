"""The logger of a case, which keeps the lines of a test together, and the diagnostic flags of a case."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any

from livecheck_celery.execution.runner import current_execution
from livecheck_celery.execution.test_log import EXITS
from livecheck_celery.utils.signal_handlers import errors_ignored


def _method(level: int, **options: Any) -> Callable[..., None]:
    def method(self: CaseLog, msg: object = "", *args: object, **kwargs: Any) -> None:
        self.log(level, msg, *args, **{**options, **kwargs})

    return method


class CaseLog(logging.LoggerAdapter[logging.Logger]):
    """The logger of a case; inside ``run()`` the runner keeps the lines until the verdict.

    It has the methods of the reference's ``CompositeLogger``.

    Attributes:
        formatter: called as `format` is; None for messages as they are.
    """

    def __init__(self, logger: logging.Logger, case_name: str, formatter: Callable[..., object] | None = None) -> None:
        super().__init__(logger, {"case": case_name})
        self.case_name = case_name
        self.formatter = formatter

    # A call without a message is an empty line, and not a verdict.
    debug = _method(logging.DEBUG)
    info = _method(logging.INFO)
    warn = warning = _method(logging.WARNING)
    error = _method(logging.ERROR)
    crit = critical = _method(logging.CRITICAL)
    exception = _method(logging.ERROR, exc_info=True)

    def dev(self, msg: object = "", *args: object, **kwargs: Any) -> None:
        """Log at level INFO, if the environment variable ``DEVLOG`` is set (reference: ``dev``)."""
        if os.environ.get("DEVLOG"):
            self.log(logging.INFO, msg, *args, **kwargs)

    def format(self, severity: int, message: object, *args: object, **kwargs: Any) -> object:
        """Return the message to log, before its arguments are inserted; override it, or set ``formatter``."""
        return message if self.formatter is None else self.formatter(severity, message, *args, **kwargs)

    def log(self, level: int = logging.INFO, msg: object = "", *args: object, **kwargs: Any) -> None:
        """Log ``msg % args``, at once or with the other lines of the running test."""
        runner = current_execution()
        with errors_ignored(*(EXITS if runner else ())):
            msg = self.format(level, msg, *args, **kwargs)
        if runner is None or runner.case.name != self.case_name or kwargs.get("exc_info"):
            with errors_ignored(*(EXITS if runner else ())):  # of handlers and filters: logging decides no verdict
                super().log(level, msg, *args, **kwargs)
        else:
            runner.log_line(level, msg, *args)


class Diag:
    """Diagnostic flags of a case (reference: ``mode``'s ``Diag``)."""

    def __init__(self) -> None:
        self.flags: set[str] = set()
        self.last_transition: dict[str, float] = {}

    def set_flag(self, flag: str) -> None:
        """Set ``flag``."""
        self.flags.add(flag)
        self.last_transition[flag] = time.monotonic()

    def unset_flag(self, flag: str) -> None:
        """Clear ``flag``."""
        self.flags.discard(flag)
        self.last_transition[flag] = time.monotonic()
