"""Scripts that fail, on a real server: an error leaves no partial change."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from livecheck_celery.errors import RedisUnavailable, UnreadableData
from livecheck_celery.models import State
from livecheck_celery.store import Store
from livecheck_celery.store.database import Database
from livecheck_celery.store.replies import Recovery
from livecheck_celery.store.schedule_runs import Window
from livecheck_celery.store.scripts import _NUMBERS, _WHOLE, Call, run
from tests.helpers import executions
from tests.helpers.factories import CASE, make_signal, make_test
from tests.helpers.store_operations import OPERATIONS, SCRIPTS, drop_open, forget, sign_in


def put_off(store: Store) -> None:
    with store.errors_translated():
        recorded_at = store.client.hget(store.keys.test(CASE, "recorded"), "recorded_at")
    store.executions.put_off([make_test("recorded", recorded_at=float(recorded_at or 0))], 5.0, 30.0)


def unsent(store: Store) -> None:
    store.executions.unsent([Recovery("again", make_test("recorded"))])


#: One call of a script each, in the state that `fill` makes.
WRITES: dict[str, Callable[[Store], Any]] = {
    "record": OPERATIONS["executions.record"],
    "record, id of a finished execution": lambda store: store.executions.record(make_test("finished"), expires_in=60),
    "claim": lambda store: executions.claim(store, make_test("recorded"), frequency=1.0),
    "claim, without a record": lambda store: executions.claim(store, make_test("new"), frequency=1.0),
    "renew": lambda store: store.executions.renew([(CASE, "running", "t1")], 30.0),
    "release": lambda store: store.executions.release(CASE, "running", "t1"),
    "verdict, failure": lambda store: executions.judge(store, make_test("running"), State.FAIL),
    "verdict, pass": lambda store: executions.judge(store, make_test("running"), State.PASS, runtime=0.5),
    "recover, resend": lambda store: store.executions.recover(CASE, "recorded", "s"),
    "recover, close": lambda store: store.executions.recover(CASE, "expired", "s"),
    "put_off": put_off,
    "unsent": unsent,
    "revoke": lambda store: store.executions.revoke(make_test("recorded"), "r"),
    "discard": lambda store: store.executions.discard(CASE, "running"),
    "send_signal": lambda store: store.signals.send(make_signal(key="running"), ttl=60),
    "send_signal, without a record": lambda store: store.signals.send(make_signal(key="unknown"), ttl=60),
    "send_signal, late": lambda store: store.signals.send(make_signal(key="finished"), ttl=60),
    "drop_signals": lambda store: store.signals.drop(CASE, ["unknown"]),
    "listen": lambda store: store.signals.listen(CASE, "running", "a", ttl=60),
    "fail_suite": OPERATIONS["suites.fail"],
    "service_recovered": OPERATIONS["suites.service_recovered"],
    "stalled, at the start of a worker": lambda store: store.suites.expect_tests({CASE: 0.0}),
    "stalled": lambda store: store.suites.stalled({CASE: 0.0}),
    "claim_run": lambda store: store.schedule_runs.claim(CASE, Window(1.0, 0.5), token="new", lease=9.0),
    "claim_run, lapsed": lambda store: store.schedule_runs.claim(CASE, Window(60.0, 1.0), token="new", lease=9.0),
    "renew_run": lambda store: store.schedule_runs.renew(CASE, "lapsed", lease=9.0),
    "finish_run": lambda store: store.schedule_runs.finish(CASE, "lapsed"),
    "lapsed_run": lambda store: store.schedule_runs.lapsed([CASE], lease=9.0),
    "register": lambda store: store.registry.register(CASE, {"sources": {"sent": ["task", "shop.send"]}}),
    "override": OPERATIONS["registry.override"],
    "override, with an end": OPERATIONS["registry.override, with an end"],
    "snapshot": lambda store: store.registry.snapshot(),
    "forget": forget,
    "add_counts": lambda store: store.counters.add({"dropped: redis": 1, "dropped: full": 1}),
    "due_checks": lambda store: store.suites.stall_checks.due({CASE: 9.0}),
    "find_open": lambda store: store.executions.open_cases.due([f"{number}" for number in range(61)]),
    "note_open": lambda store: store.executions.open_cases.note([CASE]),
    "drop_open": drop_open,
    "sign_of_life": OPERATIONS["liveness.beat_seen"],
    "sign_in": sign_in,
    "post_report": OPERATIONS["reports.post"],
}
READS = {"read", "due"}


@pytest.fixture
def client(redis_client: redis.Redis) -> Iterator[redis.Redis]:
    yield redis_client
    redis_client.flushall()


def fill(store: Store) -> None:
    """A state in which each of the operations writes as much as it can."""
    store.client.flushdb()
    store.registry.register(CASE, {})
    store.counters.add({"dropped: full": 1})
    store.liveness.beat_seen()
    executions.claim(store, make_test("finished"))
    executions.judge(store, make_test("finished"))
    store.signals.send(make_signal(key="finished"), ttl=60)
    store.signals.send(make_signal(key="unknown"), ttl=60)
    for test_id, expires_in in (("running", 60), ("recorded", 60), ("expired", 0)):
        store.executions.record(make_test(test_id), expires_in=expires_in)
        store.signals.send(make_signal(key=test_id), ttl=60)
    executions.claim(store, make_test("running"), frequency=1.0)
    store.executions.make_due(CASE, ["recorded", "expired"])
    OPERATIONS["suites.fail"](store)
    store.suites.stall_checks.note({CASE: (str(store.time()), str(store.time()))})
    store.schedule_runs.claim(CASE, Window(60.0, 1.0), token="lapsed", lease=0.0)


#: The command that reads all of a value, by its type.
READ: dict[str, tuple[Any, ...]] = {
    "string": ("GET",),
    "hash": ("HGETALL",),
    "list": ("LRANGE", 0, -1),
    "zset": ("ZRANGE", 0, -1, "WITHSCORES"),
    "stream": ("XRANGE", "-", "+"),
}


def contents(client: redis.Redis) -> dict[str, Any]:
    """Everything the server holds, by key."""
    keys = sorted(client.keys())
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.type(key)
    kinds = pipeline.execute()
    for key, kind in zip(keys, kinds, strict=True):
        command, *arguments = READ[kind]
        pipeline.execute_command(command, key, *arguments)
    return dict(zip(keys, pipeline.execute(), strict=True))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Every call of a script there is in the test."""
    noted: list[Call] = []
    run_all = Database.run_all

    def note(database: Database, calls: list[Call], **options: Any) -> Any:
        noted.extend(calls)
        return run_all(database, calls, **options)

    monkeypatch.setattr(Database, "run_all", note)
    monkeypatch.setattr(Database, "run", lambda database, call: note(database, [call])[0])
    return noted


def retype(client: redis.Redis, key: str) -> None:
    client.delete(key)
    client.set(key, "x")


def corruptions(client: redis.Redis, key: str) -> list[Callable[[], object]]:
    """Makes ``key`` a string; or the value of one of its fields a text."""
    fields = client.hkeys(key) if client.type(key) == "hash" else []
    return [lambda: retype(client, key), *[lambda field=field: client.hset(key, field, "x") for field in fields]]


@pytest.mark.parametrize("name", WRITES)
def test_script_that_fails_changes_nothing(store: Store, client: redis.Redis, calls: list[Call], name: str) -> None:
    fill(store)
    WRITES[name](store)
    keys, failed = calls[-1].keys, set()
    for key in keys:
        for number in range(1 + len(client.hkeys(key) if client.type(key) == "hash" else [])):
            fill(store)
            possible = corruptions(client, key)
            if number >= len(possible):
                break
            possible[number]()
            before = contents(client)
            store.unreadable.places.clear()
            try:
                WRITES[name](store)
            except RedisUnavailable:
                failed.add(key)
                assert contents(client) == before
            except (UnreadableData, ValueError):
                # Else the script succeeded, and its reply cannot be parsed.
                if contents(client) == before:
                    failed.add(key)
            if store.unreadable.places:  # skipped
                failed.add(key)
                assert contents(client) == before
    # SET replaces a value of any type, and DEL deletes it.
    harmless: dict[str, tuple[str, ...]] = {
        "sign_of_life": keys,
        "sign_in": keys[-1:],
        "drop_signals": keys[1:],
        "discard": keys[:1],
        # Each of these has no use for the keys of the others.
        "send_signal": keys[2:],
        "send_signal, without a record": keys[4:],
        "send_signal, late": keys[2:4],
    }
    assert set(keys) - failed <= set(harmless.get(name, ()))


@pytest.mark.parametrize("name", WRITES)
def test_script_refuses_a_number_that_a_command_would_refuse(
    store: Store, client: redis.Redis, calls: list[Call], name: str
) -> None:
    fill(store)
    WRITES[name](store)
    call = calls[-1]
    fill(store)
    before = contents(client)
    for wrong in (sys.maxsize, 1e300, "nan", "inf", -1, "", "x", 2.5):
        for at, argument in enumerate(call.script.args):
            if argument in _WHOLE or (argument in _NUMBERS and wrong not in (2.5, "")):
                changed = Call(call.script, call.keys, (*call.args[:at], wrong, *call.args[at + 1 :]))
                with pytest.raises(redis.ResponseError, match=f"{argument} is not a number in range"):
                    run(client.execute_command, changed)
                assert contents(client) == before, (argument, wrong)


def test_every_script_that_writes_is_among_them(store: Store, client: redis.Redis, calls: list[Call]) -> None:
    fill(store)
    calls.clear()
    for act in WRITES.values():
        act(store)
    assert {call.script.name for call in calls} == set(SCRIPTS) - READS
