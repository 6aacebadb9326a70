"""Redis users with exactly the rights of deploy/redis.acl, TLS, and the errors where something is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from livecheck_celery.errors import RedisUnavailable
from livecheck_celery.execution.inbox import Inbox
from livecheck_celery.store import Store
from livecheck_celery.utils.interruption import Interruption
from tests.helpers import redis_users
from tests.helpers.factories import CASE, make_settings
from tests.helpers.redis_servers import HOST, PASSWORD, RedisServer, TlsForwarder, server, tls
from tests.helpers.store_operations import OPERATIONS, batch, check_stalled, drop_open, renew
from tests.helpers.waiting import wait_until

SECRET = quote(PASSWORD, safe="")
ALLOWED = set(re.findall(r"\+(\S+)", redis_users.rights("worker")))
#: Commands that are sent outside scripts.
CALLED = {"del", "eval", "evalsha", "hgetall", "hkeys", "hmget", "info", "ping", "subscribe"}
CALLED |= {"xread", "xrevrange", "zrem"}


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with server(tmp_path_factory.mktemp("redis"), password=PASSWORD) as redis:
        yield redis


def listen(store: Store) -> None:
    """As the inbox does."""
    with store.signals.subscription("here") as subscription:
        subscription.ping()
        wait_until(lambda: (subscription.receive(0.1) or ("", ""))[0] == "pong")


ACTS: dict[str, Callable[[Store], Any]] = {
    **OPERATIONS,
    "renew": renew,
    "batch": batch,
    "check": Store.check,
    "check_stalled": check_stalled,
    "sweep": lambda store: store.executions.open_cases.due([f"{number}" for number in range(61)], ["7"]),
    "drop_open": drop_open,
    "discard": lambda store: store.executions.discard(CASE, "id-1"),
    "follow": lambda store: store.reports.follow(None, {CASE: "0-0"}, block=0),
    "listen": listen,
}


#: What the processes of each limited user do, and what they must not.
LIMITED = {
    "service": (
        {"executions.record", "signals.send", "signals.drop", "registry.snapshot", "counters.add", "time", "batch"},
        {"reports.latest", "reports.post", "registry.cases", "registry.register", "suites.statistics", "suites.fail"}
        | {"executions.claim", "executions.verdict", "liveness.read", "follow", "listen", "check"},
    ),
    "viewer": (
        {"suites.statistics", "suites.health", "registry.cases", "registry.snapshot", "counters.read", "liveness.read"}
        | {"reports.latest", "time", "check", "follow"},
        {
            "executions.record",
            "executions.claim",
            "signals.send",
            "signals.awaited",
            "registry.override",
            "counters.add",
        }
        | {"registry.register", "reports.post", "suites.fail", "liveness.beat_seen", "executions.make_due"}
        | {"counters.add", "listen"},
    ),
}


def user(redis_server: RedisServer, *changes: str, name: str = "worker") -> Store:
    """A store of a new user with the shipped rights of ``name``, and ``changes``."""
    redis_server.client.flushall()
    redis_server.client.script_flush()
    redis_server.client.execute_command("ACL", "DELUSER", name)
    rights = redis_users.rights(name, PASSWORD).split()
    redis_server.client.execute_command("ACL", "SETUSER", name, *rights, *changes)
    return Store(make_settings(f"redis://{name}:{SECRET}@{HOST}:{redis_server.port}/0"))


def test_documented_rights_are_sufficient(redis_server: RedisServer) -> None:
    redis_server.client.acl_log_reset()
    store = user(redis_server)
    for act in ACTS.values():
        act(store)
    refused = {entry["object"] for entry in redis_server.client.acl_log()}
    assert refused <= {"client|setinfo"}
    store.client.close()


@pytest.mark.parametrize("name", LIMITED)
def test_limited_user_can_do_what_its_processes_do(redis_server: RedisServer, name: str) -> None:
    store = user(redis_server, name=name)
    for what in LIMITED[name][0]:
        ACTS[what](store)
    store.client.close()


@pytest.mark.parametrize(("name", "what"), [(name, what) for name in LIMITED for what in sorted(LIMITED[name][1])])
def test_limited_user_cannot_do_what_others_do(redis_server: RedisServer, name: str, what: str) -> None:
    store = user(redis_server, name=name)
    with pytest.raises(RedisUnavailable, match="refused a command|No permissions"):
        ACTS[what](store)
    # A service can write the index of the cases, in which the sweep finds no execution.
    assert set(redis_server.client.keys()) <= ({store.keys.open_cases} if name == "service" else set())
    store.client.close()


def test_viewer_reads_no_expired_override_though_it_cannot_remove_it(redis_server: RedisServer) -> None:
    worker = user(redis_server)
    worker.registry.override(CASE, {"active": False}, expires_in=0.0)
    worker.registry.override(CASE, {"probability": 0.5}, merge=True)
    rights = redis_users.rights("viewer", PASSWORD).split()
    redis_server.client.execute_command("ACL", "SETUSER", "viewer", *rights)
    store = Store(make_settings(f"redis://viewer:{SECRET}@{HOST}:{redis_server.port}/0"))
    snapshot = store.registry.snapshot()
    assert snapshot is not None
    assert snapshot.overrides == {CASE: {"probability": 0.5}}
    for each in (worker, store):
        each.client.close()


def test_documented_rights_name_exactly_the_commands_used() -> None:
    store = files("livecheck_celery.store")
    scripts = [path.read_text() for part in ("lua", "lua_parts") for path in store.joinpath(part).iterdir()]
    of_scripts = {name.lower() for text in scripts for name in re.findall(r"redis\.p?call\('([A-Z]+)'", text)}
    assert of_scripts | CALLED == ALLOWED


@pytest.mark.parametrize("command", sorted(CALLED))
def test_missing_right_is_named_in_the_error(redis_server: RedisServer, command: str) -> None:
    store = user(redis_server, f"-{command}")
    said = []
    for act in ACTS.values():
        try:
            act(store)
        except RedisUnavailable as exc:
            said.append(str(exc))
    assert said
    assert all(f"'{command}' command" in line and "has the user of livecheck_redis_url" in line for line in said), said
    assert not any("\n" in line for line in said)
    store.client.close()


def test_keys_under_another_prefix_are_refused(redis_server: RedisServer) -> None:
    store = user(redis_server)
    other = Store(make_settings(store.settings.redis_url, prefix="other"))
    for name in ("suites.statistics", "executions.record", "registry.cases"):
        with pytest.raises(RedisUnavailable, match="refused a command"):
            ACTS[name](other)
    other.client.close()
    store.client.close()


def test_inbox_without_the_right_to_subscribe_logs_that(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    store = user(redis_server, "resetchannels")
    inbox = Inbox(store, Interruption())
    mailbox = inbox.open(CASE, "id-1")
    wait_until(lambda: "No permissions to access a channel" in caplog.text)
    inbox.close(mailbox)
    inbox.stop()
    inbox.join(5)
    store.client.close()


@pytest.fixture
def forwarder(redis_server: RedisServer, tmp_path: Path) -> Iterator[TlsForwarder]:
    with tls(redis_server, tmp_path) as forwarder:
        yield forwarder


def tls_url(forwarder: TlsForwarder, **options: object) -> str:
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return f"rediss://:{SECRET}@{HOST}:{forwarder.port}/0?{query}"


def test_tls_with_a_client_certificate(forwarder: TlsForwarder) -> None:
    options = {**forwarder.options, "ssl_cert_reqs": "CERT_REQUIRED"}
    store = Store(make_settings(tls_url(forwarder, **options)))
    for act in (Store.check, OPERATIONS["executions.claim"], batch, listen):
        act(store)
    store.client.close()


@pytest.mark.parametrize("left_out", ["ssl_ca_certs", "ssl_certfile"])
def test_untrusted_certificate_is_named_in_the_error(forwarder: TlsForwarder, left_out: str) -> None:
    options = {**forwarder.options, "ssl_cert_reqs": "required"}
    del options[left_out]
    if left_out == "ssl_certfile":
        del options["ssl_keyfile"]
    store = Store(make_settings(tls_url(forwarder, **options)))
    with pytest.raises(RedisUnavailable, match=r"(?i)did not answer \(.*certificate|closed|reset") as caught:
        store.check()
    assert "\n" not in str(caught.value)
    assert "word" not in str(caught.value)
    store.client.close()
