"""The logger of a case, which keeps the lines of a test together, and the diagnostic flags of a case."""

from __future__ import annotations

import logging
import time
from typing import Any

from livecheck_celery.execution.runner import current_execution
from livecheck_celery.utils.signal_handlers import errors_ignored


class CaseLog(logging.LoggerAdapter[logging.Logger]):
    """The logger of a case; inside ``run()`` the runner keeps the lines until the verdict."""

    def __init__(self, logger: logging.Logger, case_name: str) -> None:
        super().__init__(logger, {"case": case_name})
        self.case_name = case_name

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log ``msg % args``, at once or with the other lines of the running test."""
        runner = current_execution()
        if runner is None or runner.case.name != self.case_name or kwargs.get("exc_info"):
            with errors_ignored():  # of handlers and filters: logging decides no verdict
                super().log(level, msg, *args, **kwargs)
        else:
            runner.log(level, msg, *args)


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
