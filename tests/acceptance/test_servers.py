"""Redis as in production: Sentinel, TLS, ACL users, a cluster; failovers, and loss of all data."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from livecheck_celery import Case, RedisUnavailable, State
from livecheck_celery.store import Store
from livecheck_celery.store.schedule_runs import Window
from tests.helpers import redis_users
from tests.helpers.livecheck_client import Client, report_of, send_all
from tests.helpers.programs import Program, Programs
from tests.helpers.redis_servers import (
    HOST,
    MASTER_NAME,
    PASSWORD,
    SentinelGroup,
    redis_cluster,
    sentinel_group,
    server,
    tls,
)
from tests.helpers.waiting import wait_until

SECRET = quote(PASSWORD, safe="")

Conf = dict[str, Any]


def of_group(group: SentinelGroup, *, password: str = "", sentinel_password: str = "") -> Conf:
    login = f":{quote(password, safe='')}@" if password else ""
    options: Conf = {"master_name": MASTER_NAME}
    if sentinel_password:
        options["sentinel_kwargs"] = {"password": sentinel_password}
    return {
        "broker_url": group.hosts.replace("://", f"://{login}", 1),
        "broker_transport_options": options,
    }


@contextmanager
def behind_sentinel(directory: Path) -> Iterator[Conf]:
    with sentinel_group(directory, password=PASSWORD, sentinel_password="sentinel") as group:
        yield of_group(group, password=PASSWORD, sentinel_password="sentinel")


@contextmanager
def with_tls(directory: Path) -> Iterator[Conf]:
    with server(directory, password=PASSWORD) as redis, tls(redis, directory) as forwarder:
        options = {**forwarder.options, "ssl_cert_reqs": "required"}
        yield {"broker_url": f"rediss://:{SECRET}@{HOST}:{forwarder.port}/0", "broker_use_ssl": options}


@contextmanager
def with_an_acl_user(directory: Path) -> Iterator[Conf]:
    with server(directory) as redis:
        for name in ("worker", "celery"):
            redis.client.execute_command("ACL", "SETUSER", name, *redis_users.rights(name, PASSWORD).split())
        yield {
            "broker_url": f"redis://celery:{SECRET}@{HOST}:{redis.port}/0",
            "broker_transport_options": {"global_keyprefix": "celery:"},
            "livecheck_redis_url": f"redis://worker:{SECRET}@{HOST}:{redis.port}/0",
        }
        refused = {(one["object"], one["username"]) for one in redis.client.acl_log()}
        # redis-py sends its name and version, and ignores a refusal; Redis 7.0 does not know the command.
        assert refused <= {("client|setinfo", "worker")}


@contextmanager
def on_a_cluster(directory: Path) -> Iterator[Conf]:
    with redis_cluster(directory, password=PASSWORD) as cluster, server(directory) as broker:
        yield {"broker_url": broker.url, "livecheck_redis_url": cluster.url}


SETUPS = {
    "sentinel with passwords": behind_sentinel,
    "tls with a password and a client's certificate": with_tls,
    "users limited to the prefix": with_an_acl_user,
    "a cluster for the state, another redis for the broker": on_a_cluster,
}


def start(programs: Programs, conf: Conf, name: str = "only") -> Program:
    command = f"celery -A anywhere worker -Q livecheck,livecheck.schedule -P threads -c 10 -n {name}@%h"
    return programs.start_worker(command, **env_of(conf))


def env_of(conf: Conf) -> dict[str, str]:
    return {"ANYWHERE": json.dumps(conf), "LIVECHECK_BROKER_URL": ""}


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Iterator[Callable[[Conf], Client]]:
    with ExitStack() as stack:

        def make(conf: Conf) -> Client:
            made = Client(**conf)
            stack.callback(made.close)
            return made

        yield make


def order_of(client: Client) -> Case:
    return client.case("anywhere.test_order", "early", "go")


def begin(client: Client) -> str:
    """Start a test, and send its first signal when a worker has claimed it; return its id."""
    test_id = uuid4().hex
    order_of(client).trigger.delay(test_id)
    client.wait_claimed(order_of(client), test_id)
    send_all(order_of(client), test_id, "early")
    return test_id


def passes(client: Client, test_id: str) -> None:
    wait_until(lambda: sent(client, test_id), 20, "a signal that Redis accepts")
    assert report_of(order_of(client), test_id, 30).state is State.PASS


def sent(client: Client, test_id: str) -> bool:
    try:
        client.store.suites.statistics(order_of(client).name)  # each store detects an outage separately
    except RedisUnavailable:
        return False
    dropped = client.livecheck.runtime.outbox.dropped
    send_all(order_of(client), test_id, "early", "go")
    return client.livecheck.flush(5) and client.livecheck.runtime.outbox.dropped == dropped


def check_schedules(store: Store) -> None:
    """Check the operations of schedules, for cases on all nodes of a cluster."""
    cases = [f"anywhere.test_{number}" for number in range(20)]
    store.suites.expect_tests(dict.fromkeys(cases, 0.0))
    assert store.suites.stalled(dict.fromkeys(cases, 0.0)).keys() == set(cases)
    assert store.suites.health(dict.fromkeys(cases, 0.0)).statuses == dict.fromkeys(cases, State.STALL)
    assert store.schedule_runs.claim(cases[0], Window(60, 30), token="t", lease=0.01) == 1
    assert wait_until(lambda: store.schedule_runs.lapsed(cases, lease=1)) == cases[:1]
    assert store.schedule_runs.renew(cases[0], "t", lease=1)
    assert store.schedule_runs.finish(cases[0], "t")
    assert store.liveness.claim_heartbeat(60)


@pytest.mark.parametrize("setup", SETUPS)
def test_test_passes_with(setup: str, programs: Programs, client: Callable[[Conf], Client], tmp_path: Path) -> None:
    with SETUPS[setup](tmp_path) as conf:
        env = env_of(conf)
        beat = programs.start("celery -A anywhere beat", **env)
        worker = start(programs, conf)
        user = client(conf)
        passes(user, begin(user))
        assert order_of(user).total_by_state == {State.PASS: 1}
        check_schedules(user.store)
        wait_until(lambda: None not in user.store.liveness.read(), 20, "signs of life")
        reading = [programs.start(f"livecheck -A anywhere {command}", **env) for command in ("status", "reports")]
        for command in reading:
            assert command.wait_exit(60) == 0, command.tail()
            assert "anywhere.test_order" in command.output()
        # A worker has a second to answer, and can miss it on a busy machine.
        doctor = next(each for each in doctors(programs, env) if each.wait_exit(60) == 0)
        assert "storage     appendonly is off" in doctor.output()
        for program in (worker, beat):
            program.terminate()
            assert program.wait_exit(20) == 0
            assert "Traceback" not in program.output()


def doctors(programs: Programs, env: dict[str, str]) -> Iterator[Program]:
    for _ in range(4):
        yield programs.start("livecheck -A anywhere doctor", **env)


def test_tests_survive_a_failover_of_sentinel(
    programs: Programs, client: Callable[[Conf], Client], tmp_path: Path
) -> None:
    with sentinel_group(tmp_path) as group:
        conf = of_group(group)
        start(programs, conf)
        user = client(conf)
        waiting = begin(user)
        old = group.servers[0]
        old.client.wait(1, 5000)  # writes that are not replicated would be lost with the primary
        old.kill()
        group.wait_failover(old)
        passes(user, waiting)
        after = wait_until(lambda: triggered(user), 20, "a message that the broker accepts")
        passes(user, after)
        assert order_of(user).total_by_state == {State.PASS: 2}
        programs.end()


def triggered(client: Client) -> str | None:
    try:
        return order_of(client).trigger(uuid4().hex).id
    except Exception:
        return None


def test_tests_survive_a_failover_in_a_cluster(
    programs: Programs, client: Callable[[Conf], Client], tmp_path: Path
) -> None:
    with redis_cluster(tmp_path, replicas=1) as cluster, server(tmp_path) as broker:
        conf = {"broker_url": broker.url, "livecheck_redis_url": cluster.url}
        start(programs, conf)
        user = client(conf)
        waiting = begin(user)
        old = cluster.owner(user.store.keys.suite(order_of(user).name))
        old.client.wait(1, 5000)
        old.kill()
        passes(user, waiting)
        passes(user, begin(user))
        assert order_of(user).total_by_state == {State.PASS: 2}
        programs.end()


def test_killed_redis_with_aof_loses_nothing(
    programs: Programs, client: Callable[[Conf], Client], tmp_path: Path
) -> None:
    with server(tmp_path, persistent=True) as redis:
        conf = {"broker_url": redis.url}
        worker = start(programs, conf)
        user = client(conf)
        passes(user, begin(user))
        order_of(user).override(probability=0.25)
        waiting = [begin(user) for _ in range(3)]
        redis.restart()
        for test_id in waiting:
            passes(user, test_id)
        passes(user, begin(user))
        assert order_of(user).total_by_state == {State.PASS: 5}
        assert user.store.registry.snapshot().overrides == {"anywhere.test_order": {"probability": 0.25}}
        assert "has lost its data" not in worker.output()
        assert "another verdict stands" not in worker.output()
        programs.end()


def test_workers_continue_after_redis_lost_its_data(
    programs: Programs, client: Callable[[Conf], Client], tmp_path: Path
) -> None:
    with server(tmp_path) as redis, server(tmp_path) as broker:
        conf = {"broker_url": broker.url, "livecheck_redis_url": redis.url}
        user = client(conf)
        order_of(user).override(probability=0.25)
        workers = [start(programs, conf, name) for name in ("first", "second")]
        passes(user, begin(user))
        lost = begin(user)
        redis.restart()
        for worker in workers:
            worker.wait_for("has lost its data", 20)
        wait_until(user.store.registry.cases, 20, "the cases to be registered again")
        send_all(order_of(user), lost, "early", "go")
        wait_until(
            lambda: any("another verdict stands" in worker.output() for worker in workers), 20, "a refused verdict"
        )
        passes(user, begin(user))
        assert order_of(user).total_by_state == {State.PASS: 1}
        for worker in workers:
            [line] = [line for line in worker.output().splitlines() if "has lost its data" in line]
            assert line.endswith(
                f"registration: Redis at {redis.url} has lost its data: counters, histories, reports, open tests, "
                "overrides of anywhere.test_order; cases registered again: 1"
            )
        programs.end()
