"""What one operation costs the servers of a cluster, counted by the servers themselves, for `benchmarks.scale`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import Any, Final, NamedTuple

import redis

from benchmarks.scale_model import Cost, Publish
from livecheck_celery.config import Settings
from livecheck_celery.models import SignalEvent, TestExecution
from livecheck_celery.store import Store
from livecheck_celery.store.liveness import Liveness, RunningProcess
from livecheck_celery.store.registry import Registry
from tests.helpers.factories import make_signal, make_test
from tests.helpers.footprints import BulkStore, claim, judge

#: Calls of one round trip, where they are sent together; and those that are on their way on as many connections.
BATCH: Final = 100
#: How calls are sent: each by itself, at the same time on connections of their own, all on one connection.
ALONE, CONNECTIONS, BATCHED = "alone", "connections", "batched"
#: Bytes of the arguments of a test, and of the value of a signal, about.
PAYLOAD: Final = 100
LEASE: Final = 9.0
SIGNALS: Final = ("order_sent", "order_stored")
_IDLE: Final = 2.0


class Counted(NamedTuple):
    """Counters of a server."""

    processor: float
    script: float
    commands: float
    bytes_in: float
    bytes_out: float

    def since(self, before: Counted) -> Counted:
        """Return what was counted since ``before``."""
        return Counted(*(now - then for now, then in zip(self, before, strict=True)))


def counted(client: redis.Redis, *commands: str) -> Counted:
    """Read the counters of a server; ``script`` is the time in ``commands``, in microseconds, as ``processor`` is."""
    info: dict[str, Any] = client.info("everything")
    inside = sum(info.get(f"cmdstat_{name}", {"usec": 0})["usec"] for name in commands)
    processor = info["used_cpu_user_main_thread"] + info["used_cpu_sys_main_thread"]
    traffic = info["total_net_input_bytes"], info["total_net_output_bytes"]
    return Counted(processor * 1e6, inside, info["total_commands_processed"], *traffic)


def total(clients: Sequence[redis.Redis], *commands: str) -> Counted:
    """Add up the counters of servers."""
    return Counted(*(sum(values) for values in zip(*(counted(client, *commands) for client in clients), strict=True)))


class Meter:
    """Counts what operations cost servers, without what idle servers use."""

    def __init__(self, clients: Sequence[redis.Redis]) -> None:
        self._clients = clients
        before = total(clients)
        time.sleep(_IDLE)
        self._idle = total(clients).since(before).processor / _IDLE

    @contextmanager
    def measuring(self, *commands: str) -> Iterator[list[Counted]]:
        """Put what the servers counted during the block into the list."""
        found: list[Counted] = []
        before, begun = total(self._clients, *commands), time.monotonic()
        yield found
        used = total(self._clients, *commands).since(before)
        idle = self._idle * (time.monotonic() - begun)
        # The reads of the counters themselves: about one command of each server.
        found.append(used._replace(processor=used.processor - idle, commands=used.commands - len(self._clients)))


def settings_of(redis_url: str) -> Settings:
    """Return the settings of a process of the simulation."""
    return Settings(redis_url=redis_url, broker_url="memory://")


def tests_of(first: int, count: int, cases: int) -> list[TestExecution]:
    """Make tests round the cases."""
    return [
        make_test(f"{number:032}", f"shop.test_order_{number % cases}", test_kwargs={"order": "x" * (PAYLOAD - 12)})
        for number in range(first, first + count)
    ]


def signal(test: TestExecution, name: str) -> SignalEvent:
    """Make a signal of a test."""
    return make_signal(name, f'"{"v" * (PAYLOAD - 2)}"', key=test.id, case_name=test.case_name)


def held(test: TestExecution) -> tuple[str, str, str]:
    """Return the lease that `claim` gets."""
    return test.case_name, test.id, f"token-of-{test.id:->23}"


class Connections:
    """Sends each command on a connection of its own, all at the same time, as many processes do."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        # Untyped, as redis-py leaves its methods.
        self._by_node: dict[Any, list[Any]] = {}

    def execute_all(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Return the replies; errors are replies."""
        used: dict[Any, int] = {}
        sent = []
        for command in commands:
            node = self._cluster._node_for(command, None)  # noqa: SLF001 - there is no other way to its table
            number = used[node] = used.get(node, -1) + 1
            connection = self._connection(node, number)
            connection.send_command(*command)
            sent.append(connection)
        return [self._reply(connection) for connection in sent]

    def _connection(self, node: tuple[str, int], number: int) -> Any:
        connections = self._by_node.setdefault(node, [])
        if number == len(connections):
            make: Any = redis.Connection
            connections.append(make(*node, decode_responses=True, protocol=2))
        return connections[number]

    @staticmethod
    def _reply(connection: Any) -> Any:
        try:
            return connection.read_response()
        except redis.ResponseError as exc:
            return exc

    def close(self) -> None:
        """Close the connections."""
        for connections in self._by_node.values():
            for connection in connections:
                connection.disconnect()


class Processes(BulkStore):
    """The store of many processes, which send at the same time, each on a connection of its own."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.client.ping()  # reads the table of slots
        self.connections = Connections(self.client)
        database: Any = self._database
        self.database = database
        database._execute_all = self.connections.execute_all  # noqa: SLF001 - all else stays that of the store


#: The operations of a test in their order, each for many tests.
Operation = Callable[[BulkStore, Sequence[TestExecution]], Any]


def _record(store: BulkStore, tests: Sequence[TestExecution]) -> Any:
    return store.send(partial(store.executions.record, test, expires_in=3600.0) for test in tests)


def _send(name: str, store: BulkStore, tests: Sequence[TestExecution]) -> Any:
    return store.send(partial(store.signals.send, signal(test, name), ttl=0.0) for test in tests)


def _claim(store: BulkStore, tests: Sequence[TestExecution]) -> Any:
    return store.send(partial(claim, store, test) for test in tests)


def _renew(store: BulkStore, tests: Sequence[TestExecution]) -> Any:
    return store.executions.renew([held(test) for test in tests], LEASE)


def _read(store: BulkStore, tests: Sequence[TestExecution]) -> Any:
    if isinstance(store, Processes):
        keys = [store.keys.signals(test.case_name, test.id) for test in tests]
        return store.connections.execute_all([("HMGET", key, "order_paid") for key in keys])
    return store.signals.awaited([(test.case_name, test.id, ["order_paid"]) for test in tests])


def _judge(store: BulkStore, tests: Sequence[TestExecution]) -> Any:
    return store.send(partial(judge, store, test) for test in tests)


def _note(store: BulkStore, tests: Sequence[TestExecution]) -> Any:
    return store.send(partial(store.executions.open_cases.note, [test.case_name]) for test in tests)


def _due(store: BulkStore, tests: Sequence[TestExecution]) -> Any:
    return store.send(partial(store.executions.due, test.case_name, 1) for test in tests)


#: The first signal is stored before the claim, so that no process listens: PUBLISH is measured by itself.
OPERATIONS: Final[dict[str, Operation]] = {
    "record": _record,
    "signal": partial(_send, SIGNALS[0]),
    "claim": _claim,
    "renew": _renew,
    "read": _read,
    "verdict": _judge,
    "note": _note,
    "due": _due,
}


def in_batches(tests: Sequence[TestExecution], size: int) -> Iterator[Sequence[TestExecution]]:
    """Yield the tests in batches."""
    for start in range(0, len(tests), size):
        yield tests[start : start + size]


def measure_operations(
    url: str, clients: Sequence[redis.Redis], meter: Meter, count: int, cases: int
) -> tuple[dict[str, Cost], float, float]:
    """Measure each operation, alone and in batches; and the bytes of an execution that waits, and of a finished one."""
    many = Processes(settings_of(url))
    stores = {ALONE: BulkStore(settings_of(url)), CONNECTIONS: many}
    stores[BATCHED] = stores[ALONE]
    for store in stores.values():
        for operation in OPERATIONS.values():  # loads the scripts, and opens the connections
            operation(store, tests_of(0, BATCH, cases))
    found: dict[str, dict[str, Counted]] = {name: {} for name in OPERATIONS}
    memory: list[float] = []
    for number, (mode, store) in enumerate(stores.items()):
        tests = tests_of((1 + number) * 10**6, count, cases)
        for name, operation in OPERATIONS.items():
            before = memory_of(clients) - memory_of_reports(store, cases)
            with meter.measuring("hmget" if name == "read" else "evalsha") as used:
                for some in in_batches(tests, 1 if mode == ALONE else BATCH):
                    operation(store, some)
            found[name][mode] = used[0]
            if mode == BATCHED and name in ("record", "signal", "claim", "verdict"):
                memory.append((memory_of(clients) - memory_of_reports(store, cases) - before) / count)
    many.connections.close()
    for store in stores.values():
        store.client.close()
    recorded, first_signal, claimed, judged = memory
    waiting = recorded + claimed + len(SIGNALS) * first_signal
    return {name: _cost(each, count) for name, each in found.items()}, waiting, waiting + judged


def _cost(by_mode: dict[str, Counted], count: int) -> Cost:
    usual = by_mode[CONNECTIONS]
    alone, batched = by_mode.get(ALONE, usual), by_mode.get(BATCHED, usual)
    return Cost(
        script=usual.script / count,
        processor=usual.processor / count,
        alone=alone.processor / count,
        batched=batched.processor / count,
        commands=usual.commands / count,
        bytes_in=usual.bytes_in / count,
        bytes_out=usual.bytes_out / count,
    )


def memory_of(clients: Sequence[redis.Redis]) -> int:
    """Return the bytes that the data of all servers use."""
    return sum(int(client.info("memory")["used_memory_dataset"]) for client in clients)


def memory_of_reports(store: BulkStore, cases: int) -> int:
    """Return the bytes of all reports, which have bounds of their own."""
    keys = {store.keys.reports(test.case_name) for test in tests_of(0, cases, cases)}
    client: Any = store.client  # redis-py leaves it untyped
    return sum(int(client.execute_command("MEMORY USAGE", key, "SAMPLES", 0) or 0) for key in keys)


def measure_shared(url: str, meter: Meter, count: int) -> dict[str, Cost]:
    """Measure what each process does every few seconds, on the keys of all cases or on its subscription."""
    settings = settings_of(url)
    with closing(Store(settings).client) as client:
        store = Store(settings, client)
        store.registry.register("shop.test_order_0", {})
        snapshot = store.registry.snapshot()
        revision = snapshot.revision if snapshot else ""
        names = [f"shop.test_order_{number}" for number in range(100)]
        for number in range(BATCH):  # the names of the cases are sent once
            store.liveness.sign_in(_process(number), names)
    processes = Processes(settings)
    database: Any = processes.database
    registry, liveness = Registry(database), Liveness(database)
    operations: dict[str, Callable[[], object]] = {
        "snapshot": lambda: processes.send([partial(registry.snapshot, revision)] * BATCH),
        "sign in": lambda: processes.send(partial(liveness.sign_in, _process(one), names) for one in range(BATCH)),
        "ping": lambda: processes.connections.execute_all([("PING",)] * BATCH),
    }
    costs = {}
    for name, operation in operations.items():
        operation()
        with meter.measuring("evalsha") as used:
            for _ in range(0, count, BATCH):
                operation()
        costs[name] = _cost({CONNECTIONS: used[0]}, count)
    processes.connections.close()
    processes.client.close()
    return costs


def _process(number: int) -> RunningProcess:
    return RunningProcess(f"{number:032}", "worker", f"worker{number}@host", "host", number)


def measure_publish(alone: redis.Redis, clients: Sequence[redis.Redis], count: int) -> Publish:
    """Measure PUBLISH of a signal, on a server by itself and on the first one of a cluster."""

    def publish(client: redis.Redis) -> None:
        for _ in range(0, count, BATCH):
            pipeline = client.pipeline(transaction=False)
            for _ in range(BATCH):
                pipeline.publish("livecheck:inbox:" + "f" * 32, "v" * (PAYLOAD + 250))
            pipeline.execute()

    def used_by(watched: Sequence[redis.Redis], publisher: redis.Redis) -> list[float]:
        meters = [Meter([client]) for client in watched]
        before = [counted(client) for client in watched]
        begun = time.monotonic()
        publish(publisher)
        time.sleep(0.5)  # what is still on its way between the servers
        seconds = time.monotonic() - begun
        after = [counted(client) for client in watched]
        return [
            (now.processor - then.processor - meter._idle * seconds) / count  # noqa: SLF001 - of this module
            for meter, now, then in zip(meters, after, before, strict=True)
        ]

    with _subscriber(alone):
        [with_subscriber] = used_by([alone], alone)
    [without] = used_by([alone], alone)
    sender, *receivers = used_by(clients, clients[0])
    return Publish(
        alone=with_subscriber,
        send=max(0.0, sender - without) / len(receivers),
        receive=sum(receivers) / len(receivers),
    )


@contextmanager
def _subscriber(client: redis.Redis) -> Iterator[None]:
    ended = threading.Event()
    untyped: Any = client
    with untyped.pubsub() as pubsub:
        pubsub.subscribe("livecheck:inbox:" + "f" * 32)

        def receive() -> None:
            while not ended.is_set():
                pubsub.get_message(timeout=0.1)

        thread = threading.Thread(target=receive, daemon=True)
        thread.start()
        yield
        ended.set()
        thread.join()
