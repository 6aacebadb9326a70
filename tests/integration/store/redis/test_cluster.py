"""The store on a real cluster of three servers: every operation, slots that move, servers that stop answering."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from redis.crc import key_slot

from livecheck_celery.errors import RedisUnavailable
from livecheck_celery.execution import inbox as inbox_module
from livecheck_celery.execution.inbox import Inbox
from livecheck_celery.store import Store
from livecheck_celery.store.schedule_runs import Window
from livecheck_celery.store.scripts import Call, Script
from livecheck_celery.utils.interruption import Interruption
from tests.helpers.factories import CASE, make_settings, make_signal, make_test
from tests.helpers.redis_servers import HOST, RedisCluster, RedisServer, redis_cluster
from tests.helpers.store_operations import (
    OPERATIONS,
    SCRIPTS,
    batch,
    check_stalled,
    claim,
    drop_open,
    forget,
    judge,
    renew,
    sign_in,
)
from tests.helpers.waiting import at_once, wait_until

#: Names of cases that are spread over all three servers.
CASES = [f"shop.test_{number}" for number in range(30)]


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with redis_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster: RedisCluster) -> RedisCluster:
    shared_cluster.flush()
    return shared_cluster


@pytest.fixture
def store(cluster: RedisCluster) -> Iterator[Store]:
    store = Store(make_settings(cluster.url))
    yield store
    store.client.close()


def everything(store: Store) -> None:
    for act in (*OPERATIONS.values(), renew, batch, sign_in, drop_open, check_stalled, Store.check):
        act(store)
    store.executions.open_cases.due([f"shop.test_{number}" for number in range(100)], [CASE])
    store.executions.discard(CASE, "id-1")
    positions = {CASE: "0-0"}
    assert [report.case_name for report in store.reports.follow([CASE, *CASES], positions, block=0)]
    assert store.reports.follow([CASE, *CASES], positions, block=0.2) == []
    forget(store)


def test_every_script_uses_keys_of_one_cluster_slot(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    called: dict[str, set[int]] = {}
    init = Call.__init__

    def noted(call: Call, script: Script, keys: Sequence[str], args: Any) -> None:
        called.setdefault(script.name, set()).add(len({key_slot(key.encode()) for key in keys}))
        init(call, script, keys, args)

    monkeypatch.setattr(Call, "__init__", noted)
    everything(store)
    assert called == {name: {1} for name in SCRIPTS}, "one was not called, or has keys of several slots"


def test_servers_that_lost_their_scripts_get_them_again(store: Store, cluster: RedisCluster) -> None:
    everything(store)
    for one in cluster.servers:
        one.client.flushall()
        one.client.script_flush()
    everything(store)


def test_batch_is_sent_to_all_servers(store: Store, cluster: RedisCluster) -> None:
    with store.batch() as queued:
        for case in CASES:
            queued.record(make_test("1", case), expires_in=60)
            queued.signal(make_signal(key="1", case_name=case), ttl=60)
    assert len(queued.outcomes) == 2 * len(CASES)
    assert all(isinstance(at, float) for at in queued.outcomes), queued.outcomes
    assert all(one.client.dbsize() for one in cluster.servers)
    arrived = store.signals.awaited([(case, "1", ["order_sent"]) for case in CASES])
    assert [list(found) for found in arrived] == [["order_sent"]] * len(CASES)


def test_signals_stored_on_any_server_reach_the_inbox(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "BACKSTOP", 60.0)  # so a signal that is found sooner was published
    inbox = Inbox(store, Interruption())
    futures = []
    for case in CASES:
        mailbox = inbox.open(case, "1")
        store.signals.listen(case, "1", inbox.address, ttl=60)
        futures.append(mailbox.expect("order_sent"))
    for case in CASES:
        store.signals.send(make_signal(key="1", case_name=case), ttl=60)
    assert [future.result(20).case_name for future in futures] == CASES
    inbox.stop()
    for case in CASES:
        inbox.close(inbox._mailboxes[case, "1"])
    inbox.join(5)


def move(slot: int, source: RedisServer, target: RedisServer, during: Callable[[], object]) -> None:
    """Move a slot; call ``during`` when its keys are on both servers."""
    ids = {one: one.client.cluster("MYID") for one in (source, target)}
    target.client.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[source])
    source.client.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[target])
    keys = source.client.execute_command("CLUSTER GETKEYSINSLOT", slot, 1000)
    for number, key in enumerate(keys):
        source.client.execute_command("MIGRATE", HOST, target.port, key, 0, 5000)
        if number == 0:
            during()
    for one in (target, source):
        one.client.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[target])


def test_calls_follow_a_slot_that_moves(store: Store, cluster: RedisCluster) -> None:
    assert claim(store).outcome == "run"
    store.executions.record(make_test("other"), expires_in=60)
    slot = key_slot(store.keys.suite(CASE).encode())
    source = cluster.owner(store.keys.suite(CASE))
    target = next(one for one in cluster.servers if one is not source)
    threads: list[threading.Thread] = []
    verdicts: list[bool] = []

    def during() -> None:
        # While its keys are on both servers, the reply is TRYAGAIN.
        threads.append(threading.Thread(target=lambda: verdicts.append(judge(store).accepted)))
        threads[0].start()
        assert store.time() > 0

    move(slot, source, target, during)
    threads[0].join(10)
    assert verdicts == [True]
    assert sum(store.suites.statistics(CASE).total_by_state.values()) == 1
    with store.batch() as queued:
        queued.record(make_test("new"), expires_in=60)
        queued.record(make_test("new", CASES[0]), expires_in=60)
    assert all(isinstance(at, float) for at in queued.outcomes), queued.outcomes
    move(slot, target, source, lambda: None)
    assert store.suites.statistics(CASE).consecutive_failures == 1
    assert cluster.owner(store.keys.suite(CASE)) is source


def test_new_key_of_a_moving_slot_is_created_on_its_target(store: Store, cluster: RedisCluster) -> None:
    name = "shop.test_empty"
    slot = key_slot(store.keys.suite(name).encode())
    source = cluster.owner(store.keys.suite(name))
    target = next(one for one in cluster.servers if one is not source)
    ids = {one: one.client.cluster("MYID") for one in (source, target)}
    target.client.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[source])
    source.client.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[target])
    try:
        window = Window(60.0, 30.0)
        assert store.schedule_runs.claim(name, window, token="one", lease=9.0) == 1
        assert store.schedule_runs.claim(name, window, token="two", lease=9.0) == 0
        assert target.client.execute_command("CLUSTER COUNTKEYSINSLOT", slot) == 1
    finally:
        target.client.flushall()
        for one in (target, source):
            one.client.execute_command("CLUSTER SETSLOT", slot, "STABLE")


@pytest.mark.parametrize("warm", [True, False])
def test_frozen_cluster_costs_little_more_than_a_frozen_server(cluster: RedisCluster, warm: bool) -> None:
    store = Store(make_settings(cluster.url), timeout=0.4)
    if warm:
        everything(store)
    for one in cluster.servers:
        one.program.freeze()
    try:
        for act in (claim, batch, OPERATIONS["registry.cases"], send_to_all_servers):
            started = time.monotonic()
            with pytest.raises(RedisUnavailable, match="timed out"):
                act(store)
            assert time.monotonic() - started < 2.0
    finally:
        for one in cluster.servers:
            one.program.thaw()
    wait_until(lambda: reachable(store), 20, "a cluster that is up again")
    store.client.close()


def send_to_all_servers(store: Store) -> None:
    with store.batch() as queued:
        for case in CASES:
            queued.signal(make_signal(case_name=case), ttl=60)


def reachable(store: Store) -> bool:
    try:
        send_to_all_servers(store)
    except RedisUnavailable:
        return False
    return True


def test_one_frozen_server_does_not_block_the_others(cluster: RedisCluster) -> None:
    store = Store(make_settings(cluster.url), timeout=0.4)
    send_to_all_servers(store)
    frozen = cluster.servers[1]
    frozen.program.freeze()
    try:
        started = time.monotonic()
        queued = store.batch()
        for case in CASES:
            queued.record(make_test("1", case), expires_in=60)
        queued.__exit__(None, None, None)
        assert time.monotonic() - started < 2.0
        assert sum(isinstance(at, float) for at in queued.outcomes) >= len(CASES) / 3
        assert {type(outcome) for outcome in queued.outcomes} == {float, RedisUnavailable}
    finally:
        frozen.program.thaw()
    wait_until(lambda: reachable(store), 20, "a cluster that is up again")
    store.client.close()


def test_threads_share_a_cluster_client(store: Store) -> None:
    assert set(at_once(50, lambda number: claim(store, str(number)).outcome)) == {"run"}


def test_cluster_reached_by_a_plain_url_is_named_in_the_error(cluster: RedisCluster) -> None:
    store = Store(make_settings(cluster.servers[0].url))
    with pytest.raises(RedisUnavailable, match=r"has other slots .*must begin with redis\+cluster://"):
        everything(store)
    store.client.close()
