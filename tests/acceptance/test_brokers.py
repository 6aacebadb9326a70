"""Every supported broker, with the state on another server: two workers, two beats, and a worker of the host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from uuid import uuid4

import pytest
import redis
from amqp import PreconditionFailed
from celery.result import AsyncResult
from kombu import Connection

from livecheck_celery import State
from tests.helpers.livecheck_client import Client, report_of, reports_of, send_all
from tests.helpers.programs import Program, Programs, require_program
from tests.helpers.rabbitmq import RabbitMQ
from tests.helpers.redis_servers import redis_program, server
from tests.helpers.valkey import embedded
from tests.helpers.waiting import wait_until

OURS = ("livecheck", "livecheck.schedule")


@dataclass(frozen=True)
class Kind:
    """A kind of broker, and the pools of the two workers on it."""

    server: str
    pools: tuple[str, str]
    queue_type: str = "classic"


KINDS = {
    "redis": Kind("redis", ("threads", "gevent")),
    "valkey": Kind("valkey", ("gevent", "prefork")),
    "rabbitmq, classic queues": Kind("rabbitmq", ("prefork", "threads")),
    "rabbitmq, quorum queues": Kind("rabbitmq", ("threads", "gevent"), queue_type="quorum"),
}


@dataclass
class Site:
    """The processes that use one broker."""

    kind: Kind
    url: str
    client: Client
    programs: Programs
    env: dict[str, str]
    others: list[Program] = field(default_factory=list)
    workers: dict[str, Program] = field(default_factory=dict)

    def start(self) -> None:
        """Start all processes, and wait for the workers."""
        for number in range(2):
            self.others.append(self.programs.start(f"celery -A brokered beat -s {uuid4().hex}-{number}", **self.env))
        self.others.append(self.programs.start("celery -A brokered worker -P threads -n host@%h -l INFO", **self.env))
        self.start_missing()
        self.others[-1].wait_for(" ready.")

    def start_missing(self) -> None:
        """Start the LiveCheck workers that are not running, and wait for them."""
        missing = [pool for pool in self.kind.pools if pool not in self.workers]
        for pool in missing:
            queues = ",".join(OURS)
            command = f"celery -A brokered worker -Q {queues} -P {pool} -c 4 -n {pool}@%h -l INFO --without-mingle"
            self.workers[pool] = self.programs.start(command, **self.env)
        for pool in missing:
            self.workers[pool].wait_for(" ready.")

    def end(self) -> None:
        """Stop all processes; the LiveCheck workers when the queues are empty."""
        for programs in (self.others, list(self.workers.values())):
            for program in programs:
                program.terminate()
            for program in programs:
                program.end()
            if programs is self.others:
                wait_until(lambda: not any(self.messages().values()), what="empty queues")

    def pool_of(self, result: AsyncResult[str]) -> str:
        """Wait until a worker has received the test of ``result``; return its pool."""

        def holders() -> list[str]:
            return [pool for pool, worker in self.workers.items() if f"[{result.id}] received" in worker.output()]

        [pool] = wait_until(holders, 20, f"a worker with {result.id}")
        return pool

    def messages(self) -> dict[str, int]:
        """Count the messages in each queue.

        On Redis, messages that a killed worker had fetched are not counted: Celery restores them after an hour.
        """
        if self.kind.server == "rabbitmq":
            with Connection(self.url) as connection:
                channel = connection.default_channel
                return {name: channel.queue_declare(name, passive=True).message_count for name in OURS}
        with redis.Redis.from_url(self.url) as broker:
            return {name: broker.llen(name) for name in OURS}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture(scope="module")
def broker_url(kind: Kind, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The broker, which no other kind has used."""
    if kind.server == "rabbitmq":
        rabbitmq: RabbitMQ = request.getfixturevalue("rabbitmq_server")
        yield rabbitmq.empty()
    elif kind.server == "valkey":
        with embedded() as valkey:
            yield f"{valkey.connection_url}/0"
    else:
        executable = require_program(redis_program(), "redis-server")
        with server(tmp_path_factory.mktemp("redis"), executable=executable) as redis_server:
            yield redis_server.url


@pytest.fixture(scope="module")
def site(kind: Kind, broker_url: str, shared_programs: Programs, valkey_url: str) -> Iterator[Site]:
    env = {"LIVECHECK_BROKER_URL": broker_url, "LIVECHECK_REDIS_URL": valkey_url, "QUEUE_TYPE": kind.queue_type}
    client = Client(valkey_url, broker_url, task_create_missing_queue_type=kind.queue_type)
    client.store.client.flushall()
    site = Site(kind, broker_url, client, shared_programs, env)
    site.start()
    yield site
    site.end()
    left = site.messages()
    client.close()
    if kind.server == "rabbitmq":
        with Connection(broker_url) as connection:
            for name in (*OURS, "celery"):
                connection.default_channel.queue_delete(name)
    assert set(left.values()) == {0}, f"messages remain: {left}"


@pytest.mark.promise(
    "Redis, Valkey, and RabbitMQ with classic and quorum queues work as brokers, with the state on another server.",
    theme="servers",
)
def test_orders_of_a_host_are_tested(site: Site) -> None:
    case = site.client.case("brokered.test_order", "stored")
    names = [uuid4().hex for _ in range(20)]
    for name in names:
        site.client.app.send_task("brokered.place", (name, "sell"), queue="celery", ignore_result=True)
    assert {report_of(case, name).state for name in names} == {State.PASS}


@pytest.mark.parametrize("kind", [name for name in KINDS if name.startswith("rabbitmq")], indirect=True, scope="module")
def test_queues_have_the_configured_type(site: Site) -> None:
    declared = {"x-queue-type": "quorum" if site.kind.queue_type == "classic" else "classic"}
    for name in OURS:
        with Connection(site.url) as connection, pytest.raises(PreconditionFailed, match="x-queue-type"):
            connection.default_channel.queue_declare(name, durable=True, auto_delete=False, arguments=declared)


@pytest.mark.promise(
    "A message that is delivered twice runs its test once, on every supported broker.",
    theme="verdicts",
)
def test_message_delivered_twice_runs_its_test_once(site: Site) -> None:
    case = site.client.case("brokered.test_waiting", "go")
    passed = case.total_by_state[State.PASS]
    test = case.trigger()
    for _ in range(3):
        site.client.livecheck.runtime.publisher.execute(test)
    send_all(case, test.id, "go")
    assert report_of(case, test.id).state is State.PASS
    for _ in range(3):
        site.client.livecheck.runtime.publisher.execute(test)
    wait_until(lambda: site.messages()["livecheck"] == 0, what="an empty queue")
    after = case.trigger()
    send_all(case, after.id, "go")
    report_of(case, after.id)
    assert report_of(case, test.id).state is State.PASS
    assert case.total_by_state[State.PASS] == passed + 2


def test_two_beats_make_one_request_per_period(site: Site) -> None:
    case = site.client.case("brokered.test_faked")
    before = len(reports_of(case))
    wait_until(lambda: len(reports_of(case)) >= before + 4, 20, "four fake requests")
    reports = reports_of(case)
    assert {report.state for report in reports} == {State.PASS}
    requested = sorted(report.test.timestamp for report in reports[before:])
    between = [(later - earlier).total_seconds() for earlier, later in pairwise(requested)]
    assert min(between) > 0.5
    assert sum(between) / len(between) == pytest.approx(1.0, abs=0.25)


def test_doctor_finds_no_errors_and_warns_of_prefork(site: Site) -> None:
    doctor = site.programs.start("livecheck -A brokered doctor", **site.env)
    doctor.wait_exit()
    assert not [line for line in doctor.output().splitlines() if line.startswith("error")]
    warnings = [line for line in doctor.output().splitlines() if line.startswith("warn")]
    assert len([line for line in warnings if "runs tests in a prefork pool" in line]) == ("prefork" in site.kind.pools)
    for pool in site.kind.pools:
        assert f"{pool}@" in doctor.output()


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_tests_of_a_worker_that_exits_are_run_by_the_other(site: Site, how: str) -> None:
    site.start_missing()
    case = site.client.case("brokered.test_waiting", "go")
    tests = {name: case.trigger.delay(name) for name in (uuid4().hex for _ in range(4))}
    tokens = {name: site.client.wait_claimed(case, name) for name in tests}
    held_by = {name: site.pool_of(result) for name, result in tests.items()}
    [*_, pool] = held_by.values()
    getattr(site.workers[pool], how)()
    for name, holder in held_by.items():
        if holder == pool:
            site.client.wait_claimed(case, name, unlike=tokens[name])
    for name in tests:
        send_all(case, name, "go")
    assert {report_of(case, name).state for name in tests} == {State.PASS}
    site.workers.pop(pool).end()
