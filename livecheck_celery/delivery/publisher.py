"""Sends LiveCheck's Celery messages on a connection of its own, within bounds.

Stock settings let a publish wait for minutes on a broker that does not answer. Here a refused, silent or frozen
broker costs less than a second, and is an error.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from celery import Celery
from celery.result import AsyncResult
from celery.utils.functional import maybe_list
from kombu.exceptions import KombuError
from kombu.utils.uuid import uuid

from livecheck_celery.errors import BrokerUnavailable
from livecheck_celery.models import EXECUTION, TestExecution
from livecheck_celery.store.redis.client import no_retry
from livecheck_celery.utils.forks import renew_after_fork
from livecheck_celery.utils.redis_urls import SENTINEL, scheme_of, servers

EXECUTE: Final = "livecheck.execute"
#: Keyword arguments of LiveCheck's messages; the long names keep out of the way of a test's own.
CASE_KEYWORD: Final = "livecheck_case"
TEST_KEYWORD: Final = "livecheck_test"

_NO_RETRIES: Final = {"max_retries": 0, "interval_start": 0, "interval_step": 0, "interval_max": 0}
#: What AMQP says of a queue that is there, and is another.
_PRECONDITION_FAILED: Final = 406
#: A worker takes nothing but JSON, whatever else the app sends and accepts.
_SENT: Final[dict[str, Any]] = {"retry": False, "serializer": "json"}
_TIMEOUTS: Final = ("socket_timeout", "socket_connect_timeout", "read_timeout", "write_timeout")


class Publisher:
    """Asks the workers to execute tests; safe to share between threads."""

    def __init__(self, app: Celery, broker_url: str, queue: str, *, timeout: float) -> None:
        """``timeout`` is how many seconds the broker may take to connect, and to answer."""
        self._timeout = timeout
        self._app = app
        self._broker_url = broker_url
        self._queue = queue
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Leave the parent's connection to the parent."""
        self._lock = threading.Lock()
        self._errors: tuple[type[BaseException], ...] = (KombuError, OSError)
        self._connection: Any = None
        self._producer: Any = None

    def execute(
        self,
        test: TestExecution,
        *,
        keep_result: bool = False,
        link: Any = None,
        link_error: Any = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Send the message that has a worker execute ``test``.

        Composed by hand, since ``apply_async`` waits for the result backend, however dead, in the caller's thread.

        Args:
            test: what to execute.
            keep_result: whether a worker with a result backend is to store the verdict there.
            link: as for Celery's ``apply_async``.
            link_error: as for Celery's ``apply_async``.
            options: all else that Celery's ``apply_async`` takes.

        Raises:
            BrokerUnavailable: the broker did not take the message within about a second.
        """
        task_id = options.pop("task_id", None) or uuid()
        options = {"queue": self._queue, **options}
        message = self._message(
            task_id,
            test,
            callbacks=maybe_list(link),
            errbacks=maybe_list(link_error),
            ignore_result=not keep_result,
            **options,
        )

        def send(producer: Any) -> None:
            self._app.amqp.send_task_message(producer, EXECUTE, message, **{**options, **_SENT})

        self._send(test.ident, send)
        return self._app.AsyncResult(task_id)

    def execute_all(self, tests: Sequence[TestExecution]) -> None:
        """Send a message for each test, in one go where the broker can; nothing is known of the results.

        Raises:
            BrokerUnavailable: the broker did not take them within about a second; it may have taken some.
        """
        messages = [self._message(uuid(), test, ignore_result=True) for test in tests]

        def send(producer: Any) -> None:
            with producer.batch():
                for message in messages:
                    self._app.amqp.send_task_message(producer, EXECUTE, message, **_SENT, queue=self._queue)

        self._send(f"{len(tests)} tests", send)

    def ask_for(self, task: str, case_name: str, *, queue: str, expires: float) -> None:
        """Send the message that has a worker do ``task`` for a case, unless none takes it in ``expires`` seconds.

        Raises:
            BrokerUnavailable: the broker did not take the message within about a second.
        """
        message = self._app.amqp.create_task_message(
            uuid(), task, (), {CASE_KEYWORD: case_name}, expires=expires, ignore_result=True
        )
        self._send(
            f"{task} of {case_name}",
            lambda producer: self._app.amqp.send_task_message(producer, task, message, retry=False, queue=queue),
        )

    def _message(self, task_id: str, test: TestExecution, **options: Any) -> Any:
        kwargs = {CASE_KEYWORD: test.case_name, TEST_KEYWORD: EXECUTION.dump_python(test, mode="json")}
        # Celery's own way to describe the arguments, for logs, takes longer than all else here.
        described = {"argsrepr": "()", "kwargsrepr": test.ident}
        return self._app.amqp.create_task_message(task_id, EXECUTE, (), kwargs, **described, **options)

    def _send(self, what: str, send: Callable[[Any], None]) -> None:
        if not self._lock.acquire(timeout=self._timeout):
            raise BrokerUnavailable(f"the broker is slow: the message for {what} could not be sent in time")
        try:
            self._send_again_if_closed(send)
        except self._errors as exc:
            self._disconnect()
            # After the colon, redis-py shows how it asked each sentinel.
            reason = str(exc).partition(" : <")[0] or "no answer in time"
            mend = "is it running, and is broker_url right?"
            if getattr(exc, "reply_code", None) == _PRECONDITION_FAILED:
                mend = "every process that shares a queue must set the same task_create_missing_queue_type"
            raise BrokerUnavailable(f"the broker did not take the message for {what} ({reason}); {mend}") from exc
        finally:
            self._lock.release()

    def _send_again_if_closed(self, send: Callable[[Any], None]) -> None:
        was_open, started = self._producer is not None, time.monotonic()
        try:
            self._send_and_hear(send)
        except self._errors:
            # What breaks at once was closed while nothing was sent. A message that comes twice is claimed once.
            if not was_open or time.monotonic() - started > self._timeout / 2:
                raise
            self._disconnect()
            self._send_and_hear(send)

    def _send_and_hear(self, send: Callable[[Any], None]) -> None:
        producer = self._connected()
        send(producer)
        if self._connection.transport.driver_type == "amqp":
            # A publish goes unanswered. What it answers after that tells that the broker has read all before; to have
            # each message confirmed would cost a round trip for each, and a message that is lost is sent again.
            producer.channel.basic_qos(0, 0, False)

    def _connected(self) -> Any:
        if self._producer is None:
            try:
                connection = self._app.connection_for_write(
                    self._broker_url, connect_timeout=self._timeout, transport_options=self._bounds()
                )
                connection.transport  # noqa: B018 - imports what drives this kind of broker
            except (KeyError, ImportError) as exc:
                raise BrokerUnavailable(f"broker_url: this kind of broker cannot be used: {exc}") from exc
            self._errors = (*connection.connection_errors, *connection.channel_errors, KombuError, OSError)
            self._connection = connection
            self._producer = self._app.amqp.Producer(connection, auto_declare=False)
        return self._producer

    def _bounds(self) -> dict[str, Any]:
        """Transport options, to be added to those of the host."""
        bounds: dict[str, Any] = {**_NO_RETRIES, **dict.fromkeys(_TIMEOUTS, self._timeout)}
        if scheme_of(self._broker_url) == SENTINEL:
            # With options of their own, kombu lets sentinels take as long as they like, and asks each ten times.
            given = self._app.conf.broker_transport_options.get("sentinel_kwargs") or {}
            each = self._timeout / len(servers(self._broker_url).hosts)
            asking = {"socket_timeout": each, "socket_connect_timeout": each, "retry": no_retry()}
            bounds["sentinel_kwargs"] = {**given, **asking}
        return bounds

    def _disconnect(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            with suppress(*self._errors):
                # To close in good order is to ask, and to wait for the answer of a broker that has just given none.
                connection.collect()
