"""The protocol of a LiveCheck, as tasks and the lifecycle use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from celery import Celery

from livecheck_celery.cases.base_case import BaseCase
from livecheck_celery.config import Settings
from livecheck_celery.runtime import Runtime


class Installed(Protocol):
    """A `LiveCheck` installed on a Celery app.

    Attributes:
        registers: whether this process registers the cases in Redis, as workers do.
    """

    registers: bool

    @property
    def app(self) -> Celery:
        """The Celery app."""

    @property
    def cases(self) -> Mapping[str, BaseCase]:
        """The cases declared so far, by name."""

    @property
    def settings(self) -> Settings:
        """The settings in force."""

    @property
    def runtime(self) -> Runtime:
        """The parts of this process."""

    def schedule_all(self) -> Any:
        """Add the beat entries of all cases."""

    def close(self) -> None:
        """Close the LiveCheck."""


def stall_limits(livecheck: Installed) -> dict[str, float | None]:
    """Return ``warn_stalled_after`` of each case in seconds; None for a case that is not active."""
    return {name: case.warn_stalled_after if case.active else None for name, case in dict(livecheck.cases).items()}
