"""Publish LiveCheck's Celery messages on a separate connection, with short timeouts.

With Celery's stock settings, a publish can block for minutes on a broker that does not answer. Here it raises within a
second when the broker refuses, is silent, or is frozen.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from celery import Celery
from celery.result import AsyncResult
from kombu import Exchange, Queue
from kombu.connection import failover_strategies  # type: ignore[attr-defined] # not in the types
from kombu.exceptions import KombuError
from kombu.utils.uuid import uuid

from livecheck_celery import models
from livecheck_celery.delivery.message_options import MessageOptions
from livecheck_celery.delivery.queues import own_queue
from livecheck_celery.errors import BrokerUnavailable
from livecheck_celery.models import TestExecution
from livecheck_celery.store.redis.client import no_retry
from livecheck_celery.utils.broker_urls import failover_urls
from livecheck_celery.utils.compat import batch, keep_client
from livecheck_celery.utils.forks import renew_after_fork
from livecheck_celery.utils.redis_urls import SENTINEL, scheme_of
from livecheck_celery.utils.sanitize import message_of
from livecheck_celery.utils.secrets import each_server, without_frames

EXECUTE: Final = "livecheck.execute"
#: Keyword arguments of LiveCheck's messages; the prefix avoids clashes with the arguments of a test.
CASE_KEYWORD: Final = "livecheck_case"
TEST_KEYWORD: Final = "livecheck_test"
PREFIX_KEYWORD: Final = "livecheck_prefix"
LAYOUT_KEYWORD: Final = "livecheck_layout"

_NO_RETRIES: Final = {"max_retries": 0, "interval_start": 0, "interval_step": 0, "interval_max": 0}
#: A call tries another server of the broker while less than this multiple of the timeout has passed.
_FAILOVER_WITHIN: Final = 1.2
#: AMQP reply code for a queue that exists with other properties.
_PRECONDITION_FAILED: Final = 406
#: LiveCheck's workers accept only JSON, regardless of the serializer of the app.
_SENT: Final[dict[str, Any]] = {"retry": False, "serializer": "json"}
_TIMEOUTS: Final = ("socket_timeout", "socket_connect_timeout", "read_timeout", "write_timeout")


class Publisher:
    """Publish the messages that make workers execute tests; thread-safe."""

    def __init__(self, app: Celery, broker_url: str, queue: str, *, timeout: float, prefix: str = "livecheck") -> None:
        """Connect to the broker on first use; ``timeout`` limits connecting, and each answer, in seconds."""
        self._prefix = prefix
        self._timeout = timeout
        self._app = app
        self._broker_url = broker_url
        self._queue = queue
        urls = failover_urls(broker_url) or [broker_url]
        self._url, self._urls = urls[0], urls
        strategy = app.conf.broker_failover_strategy or "round-robin" if len(urls) > 1 else "round-robin"
        self._next_urls = failover_strategies.get(strategy, strategy)(urls)
        next(self._next_urls, None)  # the first one is in use, as in kombu
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Discard the parent's connection without closing it."""
        self._lock = threading.Lock()
        self._errors: tuple[type[BaseException], ...] = (KombuError, OSError)
        self._connection: Any = None
        self._producer: Any = None
        self._declared: Any = None

    def execute(self, test: TestExecution, *, countdown: float | None = None) -> AsyncResult[Any]:
        """Publish the message that makes a worker execute ``test``, with the options of the test.

        With ``task_always_eager``, the test is executed here and now instead, as Celery does with tasks. Does not use
        ``apply_async``, which can block on an unavailable result backend.

        Args:
            test: the execution.
            countdown: seconds until a worker executes it.

        Raises:
            BrokerUnavailable: the broker did not accept the message within about a second.
        """
        if self._app.conf.task_always_eager:
            return self._execute_here(test)
        message, sending = self._message(test, countdown=countdown)
        task_id = message.headers.get("id") or message.body["id"]  # of message protocol 2, or 1

        def send(producer: Any) -> None:
            if message.properties["reply_to"]:
                # Declares the reply queue of the result backend "rpc", without which the result would be lost.
                self._app.backend.on_task_call(producer, task_id)
            self._send_message(producer, message, sending)

        self._send(f"the message for {test.ident}", send)
        return self._app.AsyncResult(task_id)

    def _execute_here(self, test: TestExecution) -> AsyncResult[Any]:
        options = MessageOptions.parse(test.message_options).message
        task: Any = self._app.tasks[EXECUTE]
        result: AsyncResult[Any] = task.apply(
            kwargs={**self._addressed(test.case_name), TEST_KEYWORD: test.as_message()},
            task_id=options.get("task_id"),
            link=options.get("callbacks"),
            link_error=options.get("errbacks"),
        )
        return result

    def execute_all(self, tests: Sequence[TestExecution]) -> None:
        """Publish a message for each test, in one batch where the transport supports it.

        Raises:
            BrokerUnavailable: the broker did not accept all messages within about a second; it may have accepted some.
        """
        messages = [self._message(test) for test in tests]

        def send(producer: Any) -> None:
            with batch(producer):
                for message, sending in messages:
                    self._send_message(producer, message, sending)

        self._send(f"the messages for {len(tests)} tests", send)

    def has_messages(self, queue: str | None) -> bool:
        """Return whether messages wait in ``queue``, by default that of the tests.

        Raises:
            BrokerUnavailable: the broker did not answer within about a second.
        """
        name, found = queue or self._queue, []

        def ask(_: Any) -> None:
            channel = self._connection.channel()  # a queue that does not exist closes it
            try:
                found.append(channel.queue_declare(queue=name, passive=True).message_count)
            except self._connection.channel_errors:
                found.append(0)
            else:
                channel.close()

        self._send(f"the query of queue {name}", ask)
        return bool(found[-1])

    def send_task(self, task: str, case_name: str, *, queue: str, expires: float) -> None:
        """Publish a message that makes a worker run ``task`` for a case; it expires after ``expires`` seconds.

        Raises:
            BrokerUnavailable: the broker did not accept the message within about a second.
        """
        message = self._app.amqp.create_task_message(
            uuid(), task, (), self._addressed(case_name), expires=expires, ignore_result=True
        )
        self._send(
            f"the message for {task} of {case_name}",
            lambda producer: self._app.amqp.send_task_message(
                producer, task, message, **_SENT, queue=own_queue(self._app, queue)
            ),
        )

    def _message(self, test: TestExecution, *, countdown: float | None = None) -> tuple[Any, dict[str, Any]]:
        """Return the message, and the options with which it is sent."""
        options = MessageOptions.parse(test.message_options)
        # Celery's default representation of the arguments takes longer than the rest of this method.
        shown = {"argsrepr": "()", "kwargsrepr": test.ident}
        message = {"task_id": uuid(), "countdown": countdown, **shown, **options.message}
        kwargs = {**self._addressed(test.case_name), TEST_KEYWORD: test.as_message()}
        sending = {**options.sending, **_SENT}
        if "queue" in sending:
            sending["queue"] = self._queue_named(sending["queue"])
        elif "exchange" not in sending:
            sending["queue"] = own_queue(self._app, self._queue)
        return self._app.amqp.create_task_message(name=EXECUTE, args=(), kwargs=kwargs, **message), sending

    def _send_message(self, producer: Any, message: Any, sending: dict[str, Any]) -> None:
        # kombu declares a queue once for a connection, but binds a copy of it for each message, to find that out.
        queue = sending.get("queue")
        is_declared = queue is not None and queue is self._declared and queue.can_cache_declaration
        declare: list[Any] | None = [] if is_declared else None
        self._app.amqp.send_task_message(producer, EXECUTE, message, declare=declare, **sending)
        self._declared = queue

    def _addressed(self, case_name: str) -> dict[str, Any]:
        return addressed(case_name, self._prefix)

    def _queue_named(self, name: str) -> Any:
        """Return the queue ``name``; one that this process does not know was declared by the first sender."""
        queues: Any = self._app.amqp.queues
        return queues[name] if name in queues else Queue(name, Exchange(""), routing_key=name, no_declare=True)

    def _send(self, what: str, send: Callable[[Any], None]) -> None:
        if not self._lock.acquire(timeout=self._timeout):
            raise BrokerUnavailable(f"the broker is slow: {what} was not sent within {self._timeout:g} s")
        try:
            self._send_with_reconnect(send)
        except self._errors as exc:
            self._disconnect()
            # After " : <" or " : Redis<", redis-py describes each sentinel.
            reason = re.split(r" : (?:Redis)?<", message_of(exc), maxsplit=1)[0] or "no answer in time"
            fix = "is it running, and is broker_url right?"
            if getattr(exc, "reply_code", None) == _PRECONDITION_FAILED:
                fix = "every process that shares a queue must set the same task_create_missing_queue_type"
            raise BrokerUnavailable(f"the broker did not accept {what} ({reason}); {fix}") from without_frames(exc)
        finally:
            self._lock.release()

    def _send_with_reconnect(self, send: Callable[[Any], None]) -> None:
        was_open, started, failed = self._producer is not None, time.monotonic(), set[str]()
        while True:
            try:
                return self._send_and_confirm(send)
            except self._errors:
                elapsed = time.monotonic() - started
                # A connection that fails at once was closed while idle. A message sent twice is claimed once.
                if not was_open or elapsed > self._timeout / 2:
                    failed.add(self._url)
                    self._url = self._next_url(failed)
                    if self._url in failed or elapsed > self._timeout * _FAILOVER_WITHIN:
                        raise
                was_open = False
                self._disconnect()

    def _next_url(self, failed: set[str]) -> str:
        """Return the URL that the failover strategy names, or another one that has not failed in this call.

        A strategy can end, or name a server again.
        """
        untried = [url for url in self._urls if url not in failed] or self._urls
        url = next(self._next_urls, None)
        return url if url in untried else untried[0]

    def _send_and_confirm(self, send: Callable[[Any], None]) -> None:
        send(producer := self._connected())
        if self._connection.transport.driver_type == "amqp":
            # AMQP does not answer a publish. The answer to the next command shows that the broker has read the
            # messages; confirming each message would cost a round trip each, and recovery re-sends a lost one.
            producer.channel.basic_qos(0, 0, False)

    def _connected(self) -> Any:
        if self._producer is None:
            try:
                connection = self._app.connection_for_write(
                    self._url, connect_timeout=self._timeout, transport_options=self._bounds()
                )
                connection.transport  # noqa: B018 - imports the transport
            except (KeyError, ImportError) as exc:
                raise BrokerUnavailable(f"broker_url: unsupported kind of broker: {exc}") from without_frames(exc)
            except (TypeError, ValueError):
                # The error can quote the password.
                raise BrokerUnavailable("broker_url: not a URL of a broker, or one with unknown options") from None
            self._errors = (*connection.connection_errors, *connection.channel_errors, KombuError, OSError)
            self._connection = connection
            self._producer = self._app.amqp.Producer(connection, auto_declare=False)
            self._declared = None
            keep_client(self._producer.channel)
        return self._producer

    def _bounds(self) -> dict[str, Any]:
        """Return transport options to add to those of the host."""
        bounds: dict[str, Any] = {**_NO_RETRIES, **dict.fromkeys(_TIMEOUTS, self._timeout)}
        if scheme_of(self._broker_url) == SENTINEL:
            # By default, kombu sets no timeout for sentinels and tries each ten times.
            given = self._app.conf.broker_transport_options.get("sentinel_kwargs") or {}
            each = self._timeout / len(each_server(self._broker_url))
            asking = {"socket_timeout": each, "socket_connect_timeout": each, "retry": no_retry()}
            bounds["sentinel_kwargs"] = {**given, **asking}
        return bounds

    def close(self) -> None:
        """Close the connection to the broker, unless it is in use; a later message opens another."""
        if self._lock.acquire(timeout=self._timeout):
            try:
                self._disconnect()
            finally:
                self._lock.release()

    def _disconnect(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            with suppress(*self._errors):
                # collect(), unlike close(), does not wait for the answer of a broker that has just given none.
                connection.collect()


def addressed(case_name: str, prefix: str) -> dict[str, Any]:
    """Return the keyword arguments that say which case a message is for, in which environment and layout."""
    return {CASE_KEYWORD: case_name, PREFIX_KEYWORD: prefix, LAYOUT_KEYWORD: models.LAYOUT}
