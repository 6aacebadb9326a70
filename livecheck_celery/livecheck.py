"""LiveCheck: the cases of a Celery app, and all they need."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, cast
from weakref import WeakKeyDictionary

import requests
from celery import Celery

from livecheck_celery.cases.case import Case
from livecheck_celery.cases.declaration import SCOPE, check_name
from livecheck_celery.cases.signals import Signal
from livecheck_celery.config import Settings, from_conf, from_environ, resolve_settings
from livecheck_celery.context import current_execution, current_test
from livecheck_celery.default_app import default_app
from livecheck_celery.delivery.automatic_signals import Resolver
from livecheck_celery.delivery.outbox import FLUSH_TIMEOUT, Outbox, Servers
from livecheck_celery.delivery.publisher import Publisher
from livecheck_celery.delivery.shared_config import Watch
from livecheck_celery.errors import ConfigurationError
from livecheck_celery.execution.deadlines import Slots
from livecheck_celery.execution.event_loop import finish
from livecheck_celery.execution.inbox import Inbox
from livecheck_celery.execution.leases import LEASE_SHARE, Leases
from livecheck_celery.execution.runner import TestRunner
from livecheck_celery.models import TestExecution
from livecheck_celery.propagation import asgi, wsgi
from livecheck_celery.propagation import celery as celery_hops
from livecheck_celery.propagation import messages as transport
from livecheck_celery.propagation.clients import registry as clients
from livecheck_celery.propagation.clients.requests import carry
from livecheck_celery.propagation.django import Receivers
from livecheck_celery.propagation.gate import Gate
from livecheck_celery.propagation.sources import DJANGO
from livecheck_celery.store import Store
from livecheck_celery.tasks import beat_schedule as schedule
from livecheck_celery.tasks import handlers as tasks
from livecheck_celery.tasks import lifecycle
from livecheck_celery.tasks import message_filter as intake
from livecheck_celery.tasks.data_loss import begin_again
from livecheck_celery.utils.lazy import lazy
from livecheck_celery.utils.sanitize import get_logger
from livecheck_celery.utils.throttle import Throttle

logger = get_logger(__name__)

_REQUEST_TIMEOUT = 0.4
#: A server that is busy for as long, with a fork or a slow script, costs no signal.
_OUTBOX_TIMEOUT = 1.0

C = TypeVar("C", bound=Case)
_Case = Case  # inside the class below, Case is its attribute

_suites: WeakKeyDictionary[Celery, list[LiveCheck]] = WeakKeyDictionary()
#: The case that allows the shortest silence, of those in the schedule.
_least_patient: WeakKeyDictionary[Celery, _Case] = WeakKeyDictionary()
#: What beat's schedule was given.
_given: WeakKeyDictionary[Celery, dict[str, Any]] = WeakKeyDictionary()


def livechecks_of(app: Celery) -> list[LiveCheck]:
    """Every LiveCheck made on ``app``, the oldest first."""
    return list(_suites.get(app, ()))


class LiveCheck:
    """The cases declared on one Celery app, and what carries tests through this process.

    Args:
        app: the host's Celery app; by default the package's own, the one of ``celery -A livecheck_celery``.
        options: settings, by the names of `Settings`; they go before those of the configuration and the environment.

    Attributes:
        app: the Celery app.
        cases: the cases, by name.
        registers: whether this process makes the cases known, as workers do.

    Raises:
        ConfigurationError: there is no such setting. What is wrong with a value is said when it is first needed.
    """

    Case: ClassVar[type[Case]] = Case
    Signal: ClassVar[type[Signal[Any]]] = Signal

    def __init__(self, app: Celery | None = None, **options: Any) -> None:
        unknown = sorted(options.keys() - Settings.model_fields.keys())
        if unknown:
            raise ConfigurationError(f"LiveCheck: unknown settings: {', '.join(unknown)}")
        self.app = default_app() if app is None else app
        self.cases: dict[str, Case] = {}
        self.registers = False
        self._options = options
        self._django = Receivers(self.operation_finished)
        self._undo: dict[str, Callable[[], None]] = {}
        self._throttle = Throttle()
        self._install()

    @classmethod
    def for_app(cls, app: Celery, **options: Any) -> Self:
        """A LiveCheck on a host's Celery app (reference: ``LiveCheck.for_app``)."""
        return cls(app, **options)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self.app.main}: {len(self.cases)} cases>"

    def _install(self) -> None:
        suites = _suites.setdefault(self.app, [])
        suites.append(self)
        celery_hops.add_listener(self)
        if suites == [self]:
            celery_hops.connect()
            tasks.install(self.app, suites)
            lifecycle.install(self.app, suites)
            intake.install(self.app, suites)
        self.app.on_after_configure.connect(self.schedule_all, weak=False)
        if _is_configured(self.app):
            self.schedule_all()

    # -- declaring

    def case(
        self, cls: type | None = None, *, name: str | None = None, base: type[_Case] | None = None, **options: Any
    ) -> Any:
        """Make the decorated class a case: what the name then stands for is the case itself, an instance.

        Args:
            cls: the class, when the decorator is used without arguments.
            name: name of the case; by default the class's, with its module.
            base: mixed into a class that is no `Case` by itself.
            options: settings of the case, by the names of its attributes.

        Raises:
            ConfigurationError: an option, a signal or the name is wrong.
        """
        scope = sys._getframe(1).f_locals  # noqa: SLF001 - annotations may be text that speaks of local names

        def declare(cls: type) -> Case:
            return self.add_case(_case_class(cls, base or self.Case, scope), name=name, **options)

        return declare if cls is None else declare(cls)

    def add_case(self, cls: type[C], *, name: str | None = None, **options: Any) -> C:
        """Declare a case of class ``cls``; arguments and errors as for `case`."""
        name = name or f"{self._module_of(cls)}.{cls.__qualname__}"
        if name in self.cases:
            raise ConfigurationError(f"case {name}: name: there is a case of that name already; give one another name=")
        check_name(name)
        case = cls(app=self, name=name, **options)
        self.cases[name] = case
        if "watch" in vars(self):
            case.use(self.watch.overrides.get(name, {}))
        if _is_configured(self.app):
            self._schedule([case], [case])
        return case

    def _module_of(self, cls: type) -> str:
        if cls.__module__ != "__main__":
            return cls.__module__
        main = self.app.main
        return main if main and main != "__main__" else Path(sys.argv[0]).stem

    def schedule_all(self, **_: Any) -> None:
        """Put the entries of all cases into the schedule of beat, beside what is there."""
        every = [case for suite in livechecks_of(self.app) for case in suite.cases.values()]
        self._schedule(self.cases.values(), every)

    def _schedule(self, cases: Iterable[_Case], new: list[_Case]) -> None:
        # To look at all cases again for each new one would take minutes for ten thousand of them.
        known = _least_patient.get(self.app)
        least_patient = sorted([*new, known] if known else new, key=_patience)[:1]
        _least_patient.update((self.app, case) for case in least_patient)
        entries = schedule.common_entries(self.settings, least_patient)
        for case in cases:
            entries.update(schedule.case_entries(case, self.settings))
        schedule.put(entries, self.app.conf.beat_schedule, _given.setdefault(self.app, {}))

    # -- settings

    @property
    def sources(self) -> tuple[Callable[[str], Any], ...]:
        """Where settings of cases are looked up: the Celery configuration, then the environment."""
        return (from_conf(self.app.conf), from_environ(os.environ))

    @lazy
    def settings(self) -> Settings:
        """The settings in force.

        Raises:
            ConfigurationError: one is wrong.
        """
        return resolve_settings(self.app.conf, os.environ, self._options)

    # -- I/O, each made when first needed

    @lazy
    def store(self) -> Store:
        """The state in Redis."""
        return Store(self.settings)

    @lazy
    def request_store(self) -> Store:
        """The state in Redis, for who may be in a user's request: gives up soon."""
        return Store(self.settings, timeout=_REQUEST_TIMEOUT)

    @lazy
    def publisher(self) -> Publisher:
        """Sends the messages that have tests executed."""
        return Publisher(self.app, self.settings.broker_url, self.settings.queue, timeout=_REQUEST_TIMEOUT)

    @lazy
    def outbox(self) -> Outbox:
        """Carries triggers and signals out of a request."""
        patient = Servers(
            Store(self.settings, timeout=_OUTBOX_TIMEOUT),
            Publisher(self.app, self.settings.broker_url, self.settings.queue, timeout=_OUTBOX_TIMEOUT),
        )
        return Outbox(patient, Servers(self.request_store, self.publisher), self.watch)

    @lazy
    def watch(self) -> Watch:
        """What people changed at run time, and what services are to tell of."""
        watch = Watch(self.request_store, partial(begin_again, self))
        watch.listen(self._follow)
        return watch

    @lazy
    def resolver(self) -> Resolver:
        """Sends the signals that are resolved by what happens anyway."""
        return Resolver(self.watch, self.outbox, self.settings.max_payload)

    def _follow(self, watch: Watch) -> None:
        for case in list(self.cases.values()):
            case.use(watch.overrides.get(case.name, {}))
        self._django.follow(watch.wanted.names(DJANGO) if watch.wanted else set())

    def operation_finished(
        self, kind: str, name: str, tests: Sequence[TestExecution], *, value: Any = None, error: str | None = None
    ) -> None:
        """Tell of what happened in ``tests``; see `livecheck_celery.propagation.sources.OperationFinished`."""
        try:
            if tests and self.settings.enabled:
                self.resolver(kind, name, tests, value=value, error=error)
        except Exception:  # a setting may be wrong
            if self._throttle(name):
                logger.exception("livecheck: failed to record %s %s; continuing", kind, name)

    def flush(self, timeout: float = FLUSH_TIMEOUT) -> bool:
        """Wait, at most ``timeout`` seconds, until what was triggered and sent so far has left this process.

        Whether it has; what could not be delivered was dropped, and counted.
        """
        return self.outbox.flush(timeout) if "outbox" in vars(self) else True

    @lazy
    def inbox(self) -> Inbox:
        """Brings signals to the tests waiting in this process."""
        return Inbox(self.store)

    @lazy
    def leases(self) -> Leases:
        """Keeps the executions running in this process this process's."""
        return Leases(self.store, self.settings.recover_within * LEASE_SHARE)

    @lazy
    def slots(self) -> Slots:
        """Sees that no test running in this process does so for too long."""
        return Slots()

    def close(self) -> None:
        """Send what waits in the outbox, close the exit stacks of the cases, and stop listening; for good."""
        celery_hops.remove_listener(self)
        for name in list(self._undo):
            self.uninstrument(name)
        used = vars(self)  # what was made, since somebody looked at it
        if "outbox" in used:
            self.outbox.close()
        for case in self.cases.values():
            case.exit_stack.close()
            finish(case.async_exit_stack.aclose())
        if "inbox" in used:
            self.inbox.stop()
            self.inbox.join(_REQUEST_TIMEOUT)
        if "leases" in used:
            self.leases.close()
        if "slots" in used:
            self.slots.close()

    # -- hops

    @lazy
    def gate(self) -> Gate:
        """What this process lets in over HTTP, and what it sends out."""
        return self._gate_to(self.settings.http_hosts)

    def _gate_to(self, hosts: Iterable[str]) -> Gate:
        return Gate(
            self.settings.secret_key,
            hosts,
            count_ignored=self._ignored,
            operation_finished=self.operation_finished,
            on_request=self._begin,
        )

    def _begin(self) -> None:
        """Know, before a request is part of a test, what every process is to know: the first one sees to that."""
        with suppress(ConfigurationError):  # of the Redis URL, which others complain of
            if not self.outbox.awake:
                self.outbox.wake()

    def _ignored(self, reason: str) -> None:
        with suppress(ConfigurationError):
            self.outbox.count(f"headers ignored: {reason}")

    def wsgi(self, app: Any) -> Any:
        """``app``, a WSGI application, behind middleware that takes the test from the headers of a request."""
        return wsgi.LiveCheckMiddleware(app, self.gate)

    def asgi(self, app: Any) -> Any:
        """`wsgi`, for an ASGI application; for FastAPI and Starlette, ``app.add_middleware(livecheck.asgi)``."""
        return asgi.LiveCheckMiddleware(app, self.gate)

    def init_flask(self, app: Any) -> None:
        """Put `wsgi` around ``app``, a Flask application; doing so again changes nothing."""
        if app.extensions.get("livecheck") is not self:
            app.extensions["livecheck"] = self
            app.wsgi_app = self.wsgi(app.wsgi_app)

    def session(self) -> requests.Session:
        """A requests session that carries the current test to the hosts on ``http_hosts``."""
        return carry(requests.Session(), self.gate)

    def instrument(self, name: str, *, hosts: Iterable[str] | None = None) -> None:
        """Have every client of a library in this process carry the current test; `uninstrument` undoes it.

        Args:
            name: ``requests``, ``httpx``, ``urllib3`` or ``aiohttp``; or ``otel``, which has the test travel in
                OpenTelemetry's baggage and tells of spans.
            hosts: where to, and nowhere else; by default ``http_hosts``.

        Raises:
            ConfigurationError: there is no such library, or it is not installed; or ``hosts`` for ``otel``, as
                OpenTelemetry propagates to every host.
        """
        if name == "otel" and hosts is not None:
            raise ConfigurationError("instrument: otel: OpenTelemetry propagates to every host, hosts= has no say")
        self.uninstrument(name)
        self._undo[name] = clients.instrument(name, self.gate if hosts is None else self._gate_to(hosts))

    def uninstrument(self, name: str) -> None:
        """Undo `instrument`; where nothing was done, do nothing."""
        if undo := self._undo.pop(name, None):
            undo()

    def inject(self, headers: MutableMapping[str, str] | list[tuple[str, bytes]]) -> None:
        """Add what is current, signed, to the headers of a message of your own transport.

        Raises:
            ConfigurationError: a setting is wrong; said the first time.
        """
        transport.inject(self.gate, headers)

    def extract(
        self, headers: Mapping[Any, Any] | Iterable[tuple[Any, Any]] | None
    ) -> AbstractContextManager[TestExecution | None]:
        """Make a block part of what the headers of such a message carry; gives the test, or None.

        Whatever the headers are, it does not raise.

        Raises:
            ConfigurationError: a setting is wrong; said the first time.
        """
        return transport.extract(self.gate, headers)

    @property
    def current_test(self) -> TestExecution | None:
        """The test that the code running now is part of, if any."""
        return current_test()

    @property
    def current_execution(self) -> TestRunner | None:
        """The runner executing a case here, if any."""
        return current_execution()


def _patience(case: _Case) -> float:
    return case.warn_stalled_after


def _is_configured(app: Any) -> bool:
    return bool(app.configured)


def _case_class(cls: type, base: type[Case], scope: Mapping[str, Any]) -> type[Case]:
    bases = (cls,) if issubclass(cls, Case) else (cls, base)
    body = {
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
        SCOPE: dict(scope),
    }
    return cast("type[Case]", type(cls.__name__, bases, body))
