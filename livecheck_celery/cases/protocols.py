"""Protocols: of a LiveCheck, as its cases use it, and of a case, as its signals and its trigger use it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from celery import Celery

from livecheck_celery.config import Settings
from livecheck_celery.errors import ConfigurationError
from livecheck_celery.guard import Guard
from livecheck_celery.models import TestReport
from livecheck_celery.propagation.gate import Gate
from livecheck_celery.runtime import Runtime

if TYPE_CHECKING:
    import requests


class CaseApp(Protocol):
    """The `LiveCheck` of a case, as far as the case uses it."""

    @property
    def app(self) -> Celery:
        """The Celery app."""

    @property
    def settings(self) -> Settings:
        """The settings in force."""

    @property
    def runtime(self) -> Runtime:
        """The parts of this process."""

    @property
    def guard(self) -> Guard:
        """The guard of this LiveCheck's parts of a request."""

    @property
    def gate(self) -> Gate:
        """Decides which hosts receive the current test."""

    @property
    def setting_sources(self) -> tuple[Callable[[str], Any], ...]:
        """The sources of options of cases."""

    def refuse_settings(self, error: ConfigurationError) -> None:
        """Make ``settings`` raise ``error``."""

    def post_report(self, report: TestReport) -> Any:
        """Publish a report."""

    def session(self) -> requests.Session:
        """Return a requests session that propagates the current test."""

    def flush(self, timeout: float = ...) -> bool:
        """Wait until all triggers and signals so far have been sent or dropped."""

    def close(self) -> None:
        """Close the LiveCheck."""


class DeclaredCase(Protocol):
    """A case, as far as its signals and its trigger use it."""

    @property
    def app(self) -> CaseApp:
        """The LiveCheck that the case is declared on."""

    @property
    def name(self) -> str:
        """The full name of the case."""

    @property
    def active(self) -> bool:
        """Whether tests of the case are triggered and run."""

    @property
    def probability(self) -> float:
        """Share of requests that are tested."""

    @property
    def max_rate(self) -> float | None:
        """Tests a second; None for no limit."""

    @property
    def test_expires(self) -> timedelta:
        """Time after the trigger from which a test is no longer run."""

    @property
    def signals(self) -> Mapping[str, Any]:
        """The signals of the case, by name."""
