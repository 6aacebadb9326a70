"""Redis servers as in production: behind Sentinel, with TLS, with ACL users, as a cluster.

All are the Valkey of the ``embedded`` extra, each its own process, so that they can be killed and frozen one by one.
That build has no TLS; a forwarder terminates it in front of the server.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import redis
import trustme

from livecheck_celery.cli.embedded import valkey_server
from livecheck_celery.cli.processes import free_port
from tests.helpers.programs import Program
from tests.helpers.waiting import wait_until

HOST: Final = "127.0.0.1"
MASTER_NAME: Final = "orders"
PASSWORD: Final = "p@ss;word"
_START: Final = 20.0


class RedisServer:
    """One server, of ``executable`` or Valkey, which loses its data at a restart unless ``persistent``.

    Attributes:
        port: on ``127.0.0.1``.
        url: of its first database.
        client: with all rights.
    """

    def __init__(
        self,
        directory: Path,
        *options: str,
        persistent: bool = False,
        password: str = "",
        executable: str | Path | None = None,
    ) -> None:
        self.port = free_port()
        self.directory = directory / f"redis-{self.port}"
        self.directory.mkdir(parents=True)
        kept = ["--appendonly", "yes", "--appendfsync", "always"] if persistent else []
        if password:
            kept += ["--requirepass", f"'{password}'", "--masterauth", f"'{password}'"]
        always = f"--bind {HOST} --port {self.port} --dir {self.directory} --save '' --repl-diskless-sync-delay 0"
        self._command = " ".join([str(executable or valkey_server()), always, *kept, *options])
        self.url = f"redis://{HOST}:{self.port}/0"
        self.client = redis.Redis(HOST, self.port, password=password or None, decode_responses=True, socket_timeout=5)
        self.start()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self.program = Program(
            self._command, cwd=self.directory, env=dict(os.environ), log=self.directory / "server.log"
        )
        wait_until(self._answers, _START, "a server that answers")

    def kill(self) -> None:
        """Kill the server, which writes nothing more."""
        self.program.kill()
        self.program.end()

    def restart(self) -> None:
        self.kill()
        self.start()

    def stop(self) -> None:
        self.client.close()
        if self.program.is_running():
            self.kill()

    def _answers(self) -> bool:
        assert self.program.is_running(), self.program.tail()
        with suppress(redis.RedisError):
            return bool(self.client.ping())
        return False


def redis_program() -> str | None:
    """Return the path of ``redis-server``; None if it is not installed."""
    return shutil.which("redis-server")


@contextmanager
def server(directory: Path, *options: str, **more: Any) -> Iterator[RedisServer]:
    one = RedisServer(directory, *options, **more)
    try:
        yield one
    finally:
        one.stop()


class SentinelGroup:
    """A primary, a replica, and three sentinels, which agree on a failover within about two seconds.

    With a shorter delay, sentinels on a busy machine take a running primary for dead.

    Attributes:
        servers: primary and replica, in this order until a failover.
        sentinels: the three.
        hosts: URLs of the sentinels, in the form of kombu.
    """

    def __init__(self, directory: Path, stack: ExitStack, *, password: str = "", sentinel_password: str = "") -> None:
        primary = stack.enter_context(server(directory, password=password))
        replica = stack.enter_context(server(directory, f"--replicaof {HOST} {primary.port}", password=password))
        self.servers = [primary, replica]
        wait_until(lambda: replica.client.info("replication")["master_link_status"] == "up", _START, "a replica")
        self.sentinels = [self._sentinel(directory, stack, primary, password, sentinel_password) for _ in range(3)]
        self.clients = [redis.Redis(HOST, port, password=sentinel_password or None) for port in self.ports]
        for client in self.clients:
            stack.callback(client.close)
        wait_until(self._is_complete, _START, "sentinels that know each other")

    def _sentinel(
        self, directory: Path, stack: ExitStack, primary: RedisServer, password: str, own_password: str
    ) -> tuple[int, Program]:
        port = free_port()
        home = directory / f"sentinel-{port}"
        home.mkdir()
        lines = [
            f"port {port}",
            f"bind {HOST}",
            f"dir {home}",
            f"sentinel monitor {MASTER_NAME} {HOST} {primary.port} 2",
            f"sentinel down-after-milliseconds {MASTER_NAME} 1500",
            f"sentinel failover-timeout {MASTER_NAME} 3000",
            f"sentinel auth-pass {MASTER_NAME} {password}" if password else "",
            f"requirepass {own_password}" if own_password else "",
        ]
        (home / "sentinel.conf").write_text("\n".join(lines))
        program = Program(
            f"{valkey_server()} {home}/sentinel.conf --sentinel", cwd=home, env=dict(os.environ), log=home / "log"
        )
        stack.callback(program.end)
        stack.callback(program.kill)
        return port, program

    @property
    def ports(self) -> list[int]:
        return [port for port, _ in self.sentinels]

    @property
    def hosts(self) -> str:
        return ";".join(f"sentinel://{HOST}:{port}" for port in self.ports)

    @property
    def url(self) -> str:
        """URL of the primary, for ``redis_url``."""
        return f"{self.hosts}/0?master_name={MASTER_NAME}"

    def _is_complete(self) -> bool:
        with suppress(redis.RedisError):
            masters = [client.sentinel_masters()[MASTER_NAME] for client in self.clients]
            return all(one["num-other-sentinels"] == 2 and one["num-slaves"] == 1 for one in masters)
        return False

    def primary(self) -> int:
        """Return the port of the primary, according to a sentinel."""
        return int(self.clients[0].sentinel_get_master_addr_by_name(MASTER_NAME)[1])

    def wait_failover(self, old: RedisServer) -> None:
        """Wait until all sentinels name another primary than ``old``."""
        wait_until(
            lambda: all(client.sentinel_get_master_addr_by_name(MASTER_NAME)[1] != old.port for client in self.clients),
            _START,
            "a failover",
        )


@contextmanager
def sentinel_group(directory: Path, **options: str) -> Iterator[SentinelGroup]:
    with ExitStack() as stack:
        yield SentinelGroup(directory, stack, **options)


class RedisCluster:
    """Three primaries that share the hash slots, each with ``replicas`` replicas.

    Attributes:
        servers: the primaries, then their replicas in the same order.
        url: for ``redis_url``.
    """

    def __init__(
        self,
        directory: Path,
        stack: ExitStack,
        *,
        replicas: int = 0,
        password: str = "",
        executable: str | Path | None = None,
    ) -> None:
        options = ("--cluster-enabled yes", "--cluster-node-timeout 1000", "--cluster-replica-validity-factor 0")
        # The default is the port plus 10000, which can be above the highest port.
        buses = [free_port() for _ in range(3 * (1 + replicas))]
        self.servers = [
            stack.enter_context(
                server(directory, *options, f"--cluster-port {bus}", password=password, executable=executable)
            )
            for bus in buses
        ]
        first = self.servers[0]
        for one in self.servers[1:]:
            one.client.execute_command("CLUSTER MEET", HOST, first.port, buses[0])
        bounds = (0, 5461, 10923, 16384)
        for number, one in enumerate(self.servers[:3]):
            one.client.execute_command("CLUSTER ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
        wait_until(self._knows_all, _START, "servers that know each other")
        for number, one in enumerate(self.servers[3:]):
            one.client.execute_command("CLUSTER REPLICATE", self.servers[number % 3].client.cluster("MYID"))
        wait_until(self._is_up, _START, "a cluster that is up")
        login = f":{password}@" if password else ""
        self.url = ";".join(f"redis+cluster://{login}{HOST}:{one.port}" for one in self.servers[:2])

    def _knows_all(self) -> bool:
        return all(len(one.client.execute_command("CLUSTER NODES")) == len(self.servers) for one in self.servers)

    def _is_up(self) -> bool:
        return all(
            one.client.execute_command("CLUSTER INFO")["cluster_state"] == "ok"
            and (number < 3 or one.client.info("replication").get("master_link_status") == "up")
            for number, one in enumerate(self.servers)
        )

    def flush(self) -> None:
        for one in self.servers:
            if one.client.info("replication")["role"] == "master":
                one.client.flushall()
                one.client.script_flush()

    def owner(self, key: str) -> RedisServer:
        """Return the primary that has ``key``."""
        slot = self.servers[0].client.cluster("KEYSLOT", key)
        return next(one for one in self.servers if any(slot in part for part in self._slots(one)))

    def _slots(self, one: RedisServer) -> list[range]:
        if not one.program.is_running():
            return []
        found = one.client.execute_command("CLUSTER SLOTS")
        return [range(first, last + 1) for first, last, primary, *_ in found if primary[1] == one.port]


@contextmanager
def redis_cluster(directory: Path, **options: Any) -> Iterator[RedisCluster]:
    with ExitStack() as stack:
        yield RedisCluster(directory, stack, **options)


class TlsForwarder:
    """Terminates TLS, with a certificate for ``127.0.0.1``, and forwards to a server without it.

    Attributes:
        port: on ``127.0.0.1``.
        authority: file with the certificate of its authority.
        certificate: file with the certificate and key of a client; others are refused.
    """

    def __init__(self, upstream: int, directory: Path) -> None:
        authority = trustme.CA()
        self.authority = directory / "ca.pem"
        self.certificate = directory / "client.pem"
        authority.cert_pem.write_to_path(self.authority)
        authority.issue_cert("client.test").private_key_and_cert_chain_pem.write_to_path(self.certificate)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(self._context)
        authority.issue_cert(HOST).configure_cert(self._context)
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._forward, HOST, 0, ssl=self._context))
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def options(self) -> dict[str, Any]:
        """Value for Celery's ``broker_use_ssl``."""
        return {
            "ssl_cert_reqs": ssl.CERT_REQUIRED,
            "ssl_ca_certs": str(self.authority),
            "ssl_certfile": str(self.certificate),
            "ssl_keyfile": str(self.certificate),
        }

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(HOST, self._upstream)
        try:
            await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))
        finally:
            for end in (writer, there[1]):
                end.transport.abort()

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def close(self) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        open_ones = asyncio.all_tasks() - {asyncio.current_task()}
        for task in open_ones:
            task.cancel()
        await asyncio.gather(*open_ones, return_exceptions=True)
        for _ in range(5):  # so that the loop closes aborted transports
            await asyncio.sleep(0)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextmanager
def tls(upstream: RedisServer, directory: Path) -> Iterator[TlsForwarder]:
    forwarder = TlsForwarder(upstream.port, directory)
    try:
        yield forwarder
    finally:
        forwarder.close()
