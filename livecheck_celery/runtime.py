"""The runtime: the parts of one process that run and carry the tests of one LiveCheck."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Final

from celery import Celery

from livecheck_celery.config import Settings
from livecheck_celery.delivery.automatic_signals import AutomaticSignals
from livecheck_celery.delivery.outbox import Outbox, Servers
from livecheck_celery.delivery.publisher import Publisher
from livecheck_celery.delivery.shared_config import SharedConfig
from livecheck_celery.execution.async_tests import AsyncTests
from livecheck_celery.execution.deadlines import Deadlines
from livecheck_celery.execution.drivers import Threads
from livecheck_celery.execution.event_loop import EventLoop
from livecheck_celery.execution.fair_share import fake_requests_of
from livecheck_celery.execution.inbox import Inbox
from livecheck_celery.execution.leases import LEASE_SHARE, Leases
from livecheck_celery.execution.runnable import Resources
from livecheck_celery.propagation.allowed_sources import AllowedSources
from livecheck_celery.store import Store
from livecheck_celery.store.counters import ServiceCount
from livecheck_celery.store.redis.pool import Connections
from livecheck_celery.store.retry import Retry
from livecheck_celery.store.unreadable import Unreadable
from livecheck_celery.utils.interruption import Interruption

#: Timeout in seconds of Redis and the broker for code that can be part of a user's request.
REQUEST_TIMEOUT: Final = 0.4
#: Timeout for the outbox's thread, so that a server that is busy with a fork or a slow script costs no signal.
OUTBOX_TIMEOUT: Final = 1.0


class Runtime:
    """The parts of one process, created together and closed once; each is given the parts it uses.

    Creating a runtime opens no connection and starts no thread: each part does so when first used, also after a fork.

    Args:
        app: the Celery app.
        settings: the settings in force.
        on_data_loss: called with the shared configuration when Redis has lost its data.
        cases: the cases that this process declares, by name, which can still grow.
        service: returns the name of this service, for counters; called by the outbox's thread, since it can be slow.

    Attributes:
        store: the state in Redis, for workers.
        request_store: the state in Redis with a short timeout, for code that can be part of a user's request.
        stores: these, and that of the outbox.
        publisher: publishes the messages that make workers execute tests.
        shared_config: cache of overrides and sources of automatic signals.
        outbox: sends triggers and signals from a request.
        automatic_signals: sends signals when operations finish.
        interruption: when this process and its children stop waiting, once they were told to stop.
        retry: retries calls of the store until then.
        event_loop: runs coroutines.
        threads: for blocking calls of coroutines.
        async_tests: the tests that run on the event loop, and hold no slot.
        inbox: delivers signals to the tests waiting in this process.
        leases: renews the leases of the tests running in this process.
        deadlines: enforces the deadlines of the tests running in this process.

    Raises:
        ConfigurationError: ``redis_url`` is not a Redis URL.
    """

    def __init__(
        self,
        app: Celery,
        settings: Settings,
        on_data_loss: Callable[[SharedConfig], object],
        *,
        cases: Mapping[str, Any] | None = None,
        service: Callable[[], str] = str,
    ) -> None:
        self._connections = Connections(settings.redis_max_connections)
        shared: Any = {
            "connections": self._connections,
            "unreadable": Unreadable(self._count),
            "cases": {} if cases is None else cases,
        }
        self.store = Store(settings, **shared)
        self.request_store = Store(settings, timeout=REQUEST_TIMEOUT, wait=REQUEST_TIMEOUT, **shared)
        self.publisher = Publisher(
            app, settings.broker_url, settings.queue, timeout=REQUEST_TIMEOUT, prefix=settings.prefix
        )
        self.shared_config = SharedConfig(
            self.request_store,
            on_data_loss,
            AllowedSources(settings.allow_sources, {} if cases is None else cases),
            lambda what, detail: self.outbox.count(ServiceCount(what, service(), detail).field),
        )
        self._outbox_publisher = Publisher(
            app, settings.broker_url, settings.queue, timeout=OUTBOX_TIMEOUT, prefix=settings.prefix
        )
        outbox_store = Store(settings, timeout=OUTBOX_TIMEOUT, wait=OUTBOX_TIMEOUT, **shared)
        self.stores = self.store, self.request_store, outbox_store
        threaded = Servers(outbox_store, self._outbox_publisher)
        self.outbox = Outbox(threaded, Servers(self.request_store, self.publisher), self.shared_config)
        self.automatic_signals = AutomaticSignals(self.shared_config, self.outbox, settings.max_payload)
        self.event_loop = EventLoop()
        self.threads = Threads()
        self.interruption = Interruption()
        self.retry = Retry(self.interruption)
        self.inbox = Inbox(self.store, self.interruption)
        self.leases = Leases(self.store, settings.recover_within * LEASE_SHARE)
        self.deadlines = Deadlines()
        self.async_tests = AsyncTests(
            self.event_loop,
            self.threads,
            self.interruption,
            settings.async_concurrency,
            lambda: fake_requests_of({} if cases is None else cases),
        )
        self.runner_resources = Resources(
            store=self.store,
            inbox=self.inbox,
            leases=self.leases,
            deadlines=self.deadlines,
            threads=self.threads,
            retry=self.retry,
            interruption=self.interruption,
        )

    def _count(self, reason: str) -> None:
        self.outbox.count(reason)  # made after the stores

    def reopen(self) -> None:
        """Run tests again after `close`: another worker starts in this process, as in a host's test suite."""
        self.interruption.clear()
        self.inbox.reopen()
        self.leases.reopen()
        self.deadlines.reopen()

    def close(self) -> None:
        """Close in order: outbox, inbox, leases, deadlines, event loop, connections.

        Tests that still wait are interrupted.
        """
        with ExitStack() as closing:  # last first; closes the rest if one of them raises
            closing.callback(self._connections.close)
            closing.callback(self.publisher.close)
            closing.callback(self._outbox_publisher.close)
            closing.callback(self.threads.close)
            closing.callback(self.event_loop.close)
            closing.callback(self.deadlines.close)
            closing.callback(self.leases.close)
            closing.callback(self.inbox.join, REQUEST_TIMEOUT)
            closing.callback(self.inbox.stop)
            closing.callback(self.outbox.close)
