"""The store and the broker behind real sentinels: failovers are followed, and waits are bounded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from celery import Celery
from kombu.transport.redis import SentinelChannel

from livecheck_celery import LiveCheck
from livecheck_celery.errors import BrokerUnavailable, RedisUnavailable
from livecheck_celery.execution.inbox import Inbox
from livecheck_celery.store import Store
from livecheck_celery.store.retry import Retry
from livecheck_celery.utils.interruption import Interruption
from tests.helpers.factories import CASE, make_settings, make_signal, make_test
from tests.helpers.redis_servers import MASTER_NAME, PASSWORD, SentinelGroup, sentinel_group
from tests.helpers.store_operations import claim
from tests.helpers.waiting import wait_until

OPTIONS = {
    "master_name": MASTER_NAME,
    "sentinel_kwargs": {"password": "sentinel"},
    "visibility_timeout": 77,
}
if "Redis" in SentinelChannel._sentinel_managed_pool.__code__.co_names:
    # Older versions of kombu cannot have a prefix with Sentinel.
    OPTIONS["global_keyprefix"] = "shop:"


@pytest.fixture
def group(tmp_path: Path) -> Iterator[SentinelGroup]:
    with sentinel_group(tmp_path, password=PASSWORD, sentinel_password="sentinel") as group:
        yield group


@pytest.fixture(scope="module")
def shared_group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelGroup]:
    """For tests that do not change its primary."""
    with sentinel_group(tmp_path_factory.mktemp("shared"), password=PASSWORD, sentinel_password="sentinel") as group:
        yield group


@pytest.fixture
def livecheck(request: pytest.FixtureRequest) -> Iterator[LiveCheck]:
    name = "group" if "group" in request.fixturenames else "shared_group"
    group: SentinelGroup = request.getfixturevalue(name)
    url = group.hosts.replace("://", f"://:{quote(PASSWORD, safe='')}@", 1)
    app = Celery("shop", broker=url, set_as_current=False)
    app.conf.broker_transport_options = OPTIONS
    livecheck = LiveCheck(app)
    yield livecheck
    livecheck.close()


def answers(store: Store) -> bool:
    try:
        return store.time() > 0
    except RedisUnavailable:
        return False


def test_publisher_keeps_the_transport_options_of_the_host(livecheck: LiveCheck, shared_group: SentinelGroup) -> None:
    livecheck.runtime.publisher.execute(make_test())
    assert shared_group.servers[0].client.llen(f"{OPTIONS.get('global_keyprefix', '')}livecheck") == 1
    channel = livecheck.runtime.publisher._connection.default_channel
    assert (channel.visibility_timeout, channel.master_name) == (77, MASTER_NAME)
    assert livecheck.app.conf.broker_transport_options == OPTIONS


def test_silent_sentinels_cost_no_more_than_a_silent_redis(livecheck: LiveCheck, shared_group: SentinelGroup) -> None:
    for _, program in shared_group.sentinels:
        program.freeze()
    started = time.monotonic()
    with pytest.raises(RedisUnavailable, match=r"did not answer \(No master found for 'orders'\)"):
        livecheck.runtime.request_store.time()
    assert time.monotonic() - started < 1.5
    started = time.monotonic()
    with pytest.raises(BrokerUnavailable, match=r"\(No master found for 'orders'\)"):
        livecheck.runtime.publisher.execute(make_test())
    assert time.monotonic() - started < 1.5
    for _, program in shared_group.sentinels[1:]:
        program.thaw()
    wait_until(lambda: answers(livecheck.runtime.request_store), 10, "an answer by two of three sentinels")
    shared_group.sentinels[0][1].thaw()


@pytest.fixture
def inbox(livecheck: LiveCheck) -> Iterator[Inbox]:
    """An inbox, which ends even if the test has left a mailbox open."""
    inbox = Inbox(livecheck.runtime.store, Interruption())
    yield inbox
    for mailbox in inbox._open_mailboxes():
        inbox.close(mailbox)
    inbox.stop()
    inbox.join(20)


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_failover_is_followed(livecheck: LiveCheck, group: SentinelGroup, inbox: Inbox, how: str) -> None:
    store, old = livecheck.runtime.store, group.servers[0]
    assert claim(store).outcome == "run"
    livecheck.runtime.publisher.execute(make_test())
    mailbox = inbox.open(CASE, "id-1")
    store.signals.listen(CASE, "id-1", inbox.address, ttl=60)
    old.client.wait(1, 5000)
    if how == "killed":
        old.kill()
    else:
        old.program.freeze()
    deadline = time.monotonic() + 60
    longest = 0.0
    is_back = False
    while not is_back and time.monotonic() < deadline:
        started = time.monotonic()
        is_back = answers(livecheck.runtime.request_store)
        longest = max(longest, time.monotonic() - started)
    assert is_back
    assert longest < 2.0
    assert group.primary() == group.servers[1].port
    wait_until(lambda: answers(store), 10)
    wait_until(lambda: published(livecheck), 10, "a broker that takes a message")
    # With retries, as a worker does: after a failover the sentinels can disagree for a moment.
    assert Retry(Interruption())(claim, store).outcome == "run", "the repeated claim with the same token"
    # The inbox subscribes again, so that signals are published to it.
    wait_until(lambda: group.servers[1].client.pubsub_numsub(f"livecheck:inbox:{inbox.address}")[0][1] == 1, 15)
    if how == "frozen":
        old.program.thaw()
        wait_until(lambda: old.client.info("replication")["role"] == "slave", 40, "the old primary to be a replica")
        wait_until(lambda: all(answers(store) for _ in range(5)), 10, "answers in a row")
    first = mailbox.expect("first")
    Retry(Interruption())(store.signals.send, make_signal("first"), ttl=60)
    assert first.result(20).key == "id-1"


def published(livecheck: LiveCheck) -> bool:
    try:
        livecheck.runtime.publisher.execute(make_test("other"))
    except BrokerUnavailable:
        return False
    return True


def test_wrong_password_is_an_error_without_the_password(shared_group: SentinelGroup) -> None:
    url = shared_group.url.replace("://", "://:hunter2@", 1)
    for password in ("hunter2", "sentinel"):
        store = Store(make_settings(f"{url}&sentinel_password={password}"))
        with pytest.raises(RedisUnavailable, match="refused the login|No master found") as caught:
            store.check()
        assert "hunter2" not in str(caught.value)
        store.client.close()
