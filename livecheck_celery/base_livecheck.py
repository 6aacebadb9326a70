"""What a LiveCheck of either face is: the public facade, one for each set of cases on a Celery app."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, overload

import click
from celery import Celery

from livecheck_celery.cases import declaration
from livecheck_celery.cases.base_case import BaseCase
from livecheck_celery.cases.hooks import close_async
from livecheck_celery.cases.redis_signal import RedisSignal
from livecheck_celery.config import Settings, from_conf, from_environ, resolve_settings
from livecheck_celery.context import current_test, detached, identity_here
from livecheck_celery.default_app import check_concurrency, default_app
from livecheck_celery.delivery.outbox import FLUSH_TIMEOUT
from livecheck_celery.delivery.shared_config import SharedConfig
from livecheck_celery.errors import ConfigurationError
from livecheck_celery.execution.event_loop import EventLoop
from livecheck_celery.execution.runner import BaseRunner, current_execution
from livecheck_celery.guard import Guard
from livecheck_celery.models import TestExecution, TestReport
from livecheck_celery.propagation import celery as celery_propagation
from livecheck_celery.propagation import deferral, messages
from livecheck_celery.propagation.clients import registry as clients
from livecheck_celery.propagation.django import Receivers
from livecheck_celery.propagation.gate import Gate, LateGate, Policy
from livecheck_celery.propagation.middleware import Middlewares
from livecheck_celery.propagation.routes import Arguments, Routes
from livecheck_celery.propagation.sources import django_sources
from livecheck_celery.runtime import Runtime
from livecheck_celery.store.counters import IGNORED, ServiceCount
from livecheck_celery.tasks.installation import install, installed_on
from livecheck_celery.tasks.registration import restore_after_data_loss
from livecheck_celery.utils import sentry
from livecheck_celery.utils.compat import connect_method, is_configured
from livecheck_celery.utils.lazy import lazy
from livecheck_celery.utils.sanitize import get_logger
from livecheck_celery.utils.validation import did_you_mean

if TYPE_CHECKING:
    import requests

logger = get_logger(__name__)

C = TypeVar("C", bound=BaseCase)


def livechecks_of(app: Celery) -> list[BaseLiveCheck]:
    """Return every LiveCheck made on ``app``, the oldest first."""
    return [each for each in installed_on(app) if isinstance(each, BaseLiveCheck)]


class BaseLiveCheck(Middlewares):
    """What the `LiveCheck` of either face is; arguments, attributes and errors are described there."""

    #: The classes of cases and signals of this face.
    Case: ClassVar[type[BaseCase]]
    Signal: ClassVar[type[RedisSignal[Any]]]

    def __init__(self, app: Celery | None = None, **options: Any) -> None:
        for name in sorted(options.keys() - Settings.model_fields.keys()):
            raise ConfigurationError(f"LiveCheck: unknown setting {name!r}{did_you_mean(name, Settings.model_fields)}")
        if app is not None and not isinstance(app, Celery):
            raise ConfigurationError(f"LiveCheck: the app must be a Celery app, not {type(app).__name__}")
        self.app = default_app() if app is None else app
        self.cases: dict[str, BaseCase] = {}
        self.registers = False
        self.guard = Guard()
        self._routes = Routes(self.guard)
        self._options = options
        self._refused: str | None = None
        self._runtime: Runtime | None = None
        self._django = Receivers(self.operation_finished)
        self._uninstrument: dict[str, Callable[[], None]] = {}
        sentry.connect(identity_here)
        celery_propagation.connect()
        celery_propagation.add_listener(self)
        deferral.add_user(self)
        self._installation = install(self)
        connect_method(self.app.on_after_configure, self._schedule_early, weak=False)
        if is_configured(self.app):
            self._schedule_early()

    @classmethod
    def for_app(cls, app: Celery, **options: Any) -> Self:
        """Make a LiveCheck on a host's Celery app (reference: ``LiveCheck.for_app``)."""
        return cls(app, **options)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self.app.main}: {len(self.cases)} cases>"

    @property
    def user_options(self) -> Any:
        """Celery's command line reads this first from what ``-A`` names, which must be a Celery app.

        Raises:
            click.UsageError: always; the message says what to give instead.
        """
        raise click.UsageError(
            f"-A names a LiveCheck, not its Celery app {self.app.main!r}; give the module alone, or module:app. "
            "`livecheck -A` takes both."
        )

    # -- declaring cases

    def case(
        self, cls: type | None = None, *, name: str | None = None, base: type[BaseCase] | None = None, **options: Any
    ) -> Any:
        """Register the decorated class as a case; its name then refers to the case, an instance.

        Args:
            cls: the class, when the decorator is used without arguments.
            name: name of the case; by default the class's, with its module.
            base: base class of a class that is not a `Case` itself.
            options: options of the case, by the names of its attributes.

        Raises:
            ConfigurationError: an option, a signal or the name is wrong.
        """
        local_names = sys._getframe(1).f_locals  # noqa: SLF001 - annotations that are text can refer to local names

        def declare(cls: type) -> BaseCase:
            declaration.check_class(cls, BaseCase)
            declaration.resolve_annotations(cls, local_names)
            default = BaseCase if issubclass(cls, BaseCase) else self.Case
            return self.add_case(declaration.case_class(cls, base or default), name=name, **options)

        return declare if cls is None else declare(cls)

    @overload
    def add_case(self, case: type[C], *, name: str | None = None, **options: Any) -> C: ...
    @overload
    def add_case(self, case: C) -> C: ...
    def add_case(self, case: Any, *, name: str | None = None, **options: Any) -> Any:
        """Register a case that was made by hand, or make one of a class; arguments and errors as for `case`.

        ``livecheck.add_case(MyCase(app=livecheck, name="shop.test_order"))`` is the reference's.
        """
        if is_class := isinstance(case, type):
            name = name or declaration.default_name(case, self.app.main)
        else:
            declaration.check_made(case, BaseCase, self, {**options, **({} if name is None else {"name": name})})
            name = case.name
        if name in self.cases:
            raise ConfigurationError(f"case {name}: name: already registered; give one of the two another name=")
        declaration.check_name(name)
        if is_class:
            case = declaration.create(case, app=self, name=name, **options)
        self.cases[name] = case
        if self._runtime is not None:
            case.apply_overrides(self._runtime.shared_config.case_added(name))
        if is_configured(self.app) and self._installation.beat_schedule.lacks(case):
            self._schedule_early([case])
        return case

    def schedule_all(self, **_: Any) -> None:
        """Add the beat entries of all cases to those of the host.

        Raises:
            ConfigurationError: a setting is wrong.
        """
        self.add_beat_entries(self.cases.values(), self.settings)

    def add_beat_entries(self, cases: Iterable[BaseCase], settings: Settings) -> None:
        """Add the beat entries of ``cases``, and those common to all cases, to those of the host."""
        self._installation.beat_schedule.add(cases, settings)

    def _schedule_early(self, cases: Iterable[BaseCase] | None = None, **_: Any) -> None:
        """Add entries that the host can see and change; worker and beat add them again, with the final settings."""
        with suppress(ConfigurationError):  # raised when the settings are used
            settings = vars(self).get("settings") or self._resolve_settings()
            self.add_beat_entries(self.cases.values() if cases is None else cases, settings)

    def post_report(self, report: TestReport) -> Any:
        """Publish a report."""
        raise NotImplementedError

    def _store_report(self, report: TestReport) -> None:
        if report.at is None and self.settings.send_reports:
            self.runtime.store.reports.post(report)

    # -- settings and runtime

    @property
    def setting_sources(self) -> tuple[Callable[[str], Any], ...]:
        """The sources of options of cases, in order: the Celery configuration, the environment."""
        return (from_conf(self.app.conf), from_environ(os.environ))

    @lazy
    def settings(self) -> Settings:
        """The settings in force, read when first used: by a request, a worker, beat or a command.

        Raises:
            ConfigurationError: a setting is wrong.
        """
        return self._resolve_settings()

    def refuse_settings(self, error: ConfigurationError) -> None:
        """Make ``settings`` raise ``error``: a setting of a case is wrong in the configuration or the environment."""
        self._refused = self._refused or str(error)
        vars(self).pop("settings", None)

    def _resolve_settings(self) -> Settings:
        if self._refused is not None:
            raise ConfigurationError(self._refused)
        settings = resolve_settings(self.app.conf, os.environ, self._options)
        check_concurrency(self.app, self._options)
        return settings

    @lazy
    def runtime(self) -> Runtime:
        """The parts of this process that run and carry tests, created when first used.

        Raises:
            ConfigurationError: a setting is wrong.
        """
        sentry.connect(identity_here)  # imported since, perhaps
        lost = partial(restore_after_data_loss, self)
        runtime = Runtime(self.app, self.settings, lost, cases=self.cases, service=lambda: self.service)
        runtime.shared_config.listen(self._apply_shared_config)
        self._runtime = runtime
        return runtime

    def flush(self, timeout: float = FLUSH_TIMEOUT) -> bool:
        """Wait up to ``timeout`` seconds until all triggers and signals so far have been sent or dropped.

        Returns:
            False if some are still in the outbox.
        """
        return True if self._runtime is None else self._runtime.outbox.flush(timeout)

    def close(self) -> None:
        """Flush the outbox, close the exit stacks of the cases, flush again what these sent, and stop all threads.

        The LiveCheck cannot be used afterwards.
        """
        celery_propagation.remove_listener(self)
        deferral.remove_user(self)
        for name in list(self._uninstrument):
            self.uninstrument(name)
        self.flush()  # an exit stack can take long, or be killed
        event_loop = EventLoop() if self._runtime is None else self._runtime.event_loop
        with ExitStack() as closing:  # closes the rest if one of them raises
            closing.callback(event_loop.close)
            closing.callback(self._django.follow, set())
            closing.callback(self._close_runtime)
            for case in reversed(list(self.cases.values())):
                closing.callback(close_async, case.async_exit_stack, case.name, event_loop)
                closing.callback(case.exit_stack.close)

    def _close_runtime(self) -> None:
        if self._runtime is not None:  # an exit stack may have been the first to use it
            self._runtime.close()

    def _apply_shared_config(self, shared_config: SharedConfig) -> None:
        for case in list(self.cases.values()):
            line = "shared configuration: case %s: failed to apply its overrides"
            with self.guard(f"{case.name} overrides", line, case.name):
                case.apply_overrides(shared_config.overrides.get(case.name, {}))
        self._django.follow(django_sources(self.cases.values(), shared_config.sources))

    def listens_to(self, kind: str, name: str) -> bool:
        """Return whether `operation_finished` does anything for operations of this kind and name."""
        return self._runtime is None or self._runtime.automatic_signals.listens_to(kind, name)

    def operation_finished(
        self, kind: str, name: str, tests: Sequence[TestExecution], *, value: Any = None, error: str | None = None
    ) -> None:
        """Send the automatic signals of a finished operation; see `livecheck_celery.propagation.sources`."""
        # Throttled by kind, not by name, which has the path of a request.
        with self.guard(kind, "automatic signals: failed to record %s %s; continuing", kind, name):
            if tests and self.settings.enabled:
                self.runtime.automatic_signals.operation_finished(kind, name, tests, value=value, error=error)

    # -- propagation

    def trigger_on(self, method: str, path: str, case: BaseCase, *, arguments: Arguments | None = None) -> None:
        """Trigger ``case``, with its probability, on each request of ``method`` and ``path`` that a middleware serves.

        The whole request is part of the test. Neither the case nor ``arguments`` can fail the request.

        Args:
            method: HTTP method.
            path: full path; it can have placeholders, as in ``/order/{id}/``, each in one segment.
            case: of this LiveCheck.
            arguments: gets the request, and returns the arguments of ``run()`` by name, with the test's ``id`` if it
                has one; or None, so that the request is not tested. By default, ``run()`` gets no arguments.

        Raises:
            ConfigurationError: no request can match the method or the path, the case belongs to another LiveCheck, or
                ``arguments`` is not a plain function.
        """
        self._routes.add(method, path, self.cases, case, arguments)

    @lazy
    def gate(self) -> Gate:
        """The gate of this process: which HTTP headers it accepts, and which it sends; it reads the settings late."""
        return self._gate_to(None)

    def _gate_to(self, hosts: Iterable[str] | None) -> Gate:
        return LateGate(
            lambda: Policy.of(self.settings, hosts),
            self.guard,
            count_ignored=self.count_ignored,
            operation_finished=self.operation_finished,
            on_request=self._start_outbox,
            count_hop=self._count_hop,
            routes=self._routes,
        )

    def _start_outbox(self) -> None:
        """Start the outbox at the first request, so that the process reads the shared configuration early."""
        with self.guard("request", "requests: failed to start the outbox; continuing without tests"):
            if self.settings.enabled and not self.runtime.outbox.running:
                self.runtime.outbox.start()

    def count_ignored(self, reason: str) -> None:
        """Count headers that are ignored, for `livecheck doctor`."""
        with self.guard("request", "requests: failed to count ignored headers; continuing"):
            self.runtime.outbox.count(f"headers ignored: {reason}")
            self.runtime.outbox.count(ServiceCount(IGNORED, self.service, reason).field)

    def _count_hop(self, what: str, host: str) -> None:
        with self.guard("request", "requests: failed to count a hop; continuing"):
            self.runtime.outbox.count(ServiceCount(what, self.service, host).field)

    @lazy
    def service(self) -> str:
        """Name of this service, for people: the setting, or the name of the Celery app and the host."""
        name = self.app.main if self.app is not default_app() else None
        return self.settings.service or "@".join(filter(None, (name, socket.gethostname())))

    def session(self) -> requests.Session:
        """Return a requests session that propagates the current test to the hosts in ``http_hosts``."""
        # Imported when first needed: few processes make requests of LiveCheck's, and importing requests takes long.
        from livecheck_celery.cases.session import Session  # noqa: PLC0415 - see above
        from livecheck_celery.propagation.clients.requests import carry  # noqa: PLC0415 - see above

        return carry(Session(), self.gate)

    def instrument(self, name: str, *, hosts: Iterable[str] | None = None) -> None:
        """Make every client of a library in this process propagate the current test; `uninstrument` reverts it.

        Args:
            name: ``requests``, ``httpx``, ``urllib3`` or ``aiohttp``; or ``otel``, which propagates the test in
                OpenTelemetry's baggage, and sends the automatic signals of spans.
            hosts: the only hosts to propagate to; by default ``http_hosts``.

        Raises:
            ConfigurationError: the library is unknown or not installed, a host is invalid, or ``otel`` has ``hosts``.
        """
        gate = self._gate_to(None if hosts is None else clients.checked_hosts(name, hosts))
        self.uninstrument(name)
        self._uninstrument[name] = clients.instrument(name, gate)

    def uninstrument(self, name: str) -> None:
        """Revert `instrument`; do nothing if the library is not instrumented."""
        if undo := self._uninstrument.pop(name, None):
            undo()

    def inject(self, headers: MutableMapping[str, str] | list[tuple[str, bytes]]) -> None:
        """Add the current test, signed, to the headers of a message of another transport; never raise."""
        messages.inject(self.gate, headers)

    def extract(
        self, headers: Mapping[Any, Any] | Iterable[tuple[Any, Any]] | None
    ) -> AbstractContextManager[TestExecution | None]:
        """Make the test in the headers of a message current for a block; yield the test, or None.

        Never raises because of the headers or the settings.
        """
        return messages.extract(self.gate, headers)

    @staticmethod
    def detached() -> AbstractContextManager[object]:
        """Return a context manager for a block that is part of no test and no fake request.

        For work that outlives the request in which it starts, such as a worker that serves all requests of a process.
        """
        return detached()

    @property
    def current_test(self) -> TestExecution | None:
        """The test that the running code is part of, if any."""
        return current_test()

    @property
    def current_execution(self) -> BaseRunner | None:
        """The runner that is executing a case here, if any."""
        return current_execution()
