"""Values in Redis that LiveCheck did not write: each costs only itself, whoever reads it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest
import redis
from celery import Celery
from celery.exceptions import Ignore

from livecheck_celery import Case, LiveCheck, Signal, State
from livecheck_celery.delivery.publisher import CASE_KEYWORD, EXECUTE, TEST_KEYWORD
from livecheck_celery.store.keys import Keys
from livecheck_celery.tasks.handlers import Tasks
from livecheck_celery.tasks.registration import register_cases
from tests.helpers.factories import make_test
from tests.helpers.reading import play, run, run_a_worker
from tests.helpers.waiting import wait_until

#: Cases that sort before and after the one whose records are bad.
GOOD, BAD, LAST = "shop.test_a", "shop.test_bad", "shop.test_z"
KEYS = Keys("livecheck")

TEXTS = [
    b"",
    b"x",
    b"{",
    b"null",
    b"3",
    b'"text"',
    b"[1, 2]",
    b"\xff\xfe",
    b'{"\xff": 1}',
    b"nan",
    b"-inf",
    b"1e400",
    b"9" * 5000,
    b"[" * 100_000,
    b'{"layout": "x"}',
    b'{"probability": "x"}',
    b'{"probability": 1e400}',
    b'{"probability": NaN, "active": 3, "frequency": [], "warn_stalled_after": "x"}',
    b'{"signals": 3, "sources": 3}',
    b'{"signals": [3], "sources": {"s": 3, "t": ["task"], "u": [1, 2]}}',
    b'{"value": "x", "at": "x"}',
    b'{"value": true, "at": 1e300, "expires_at": -1}',
]

#: Each writes a text, as bytes, to one place that is read.
PLACES: dict[str, Callable[[redis.Redis, bytes], object]] = {
    "settings": lambda client, text: client.hset(KEYS.cases, BAD, text),
    "name of settings": lambda client, text: client.hset(KEYS.cases, b"\xff" + text[:9], "{}"),
    "sources": lambda client, text: client.hset(KEYS.shared, f"sources:{BAD}", text),
    "override of active": lambda client, text: client.hset(KEYS.shared, f"override:active:{BAD}", text),
    "override of probability": lambda client, text: client.hset(KEYS.shared, f"override:probability:{BAD}", text),
    "unknown override": lambda client, text: client.hset(KEYS.shared, f"override:{BAD}", text),
    "expiry": lambda client, text: client.hset(KEYS.shared, "next_expiry", text),
    "counter": lambda client, text: client.hset(KEYS.counters, "dropped: redis", text),
    "counter of a service": lambda client, text: client.hset(KEYS.counters, b"[" + text[:99], 1),
    "time of a counter": lambda client, text: client.hset(
        KEYS.counters, mapping={"dropped: redis": 1, "@dropped: redis": text}
    ),
    "start of counting": lambda client, text: client.hset(KEYS.counters, "since", text),
    "beat": lambda client, text: client.set(KEYS.beat, text, ex=60),
    "schedules": lambda client, text: client.set(KEYS.schedules, text, ex=60),
    "process": lambda client, text: (client.zadd(KEYS.seen, {"p": 1e11}), client.hset(KEYS.processes, "p", text)),
    "report": lambda client, text: client.xadd(KEYS.reports(BAD), {"report": text}),
    "report without its field": lambda client, text: client.xadd(KEYS.reports(BAD), {b"x" + text[:9]: text}),
    "id of an open test": lambda client, text: client.zadd(KEYS.open(BAD), {text[:99]: 1}),
    "runtime": lambda client, text: client.rpush(KEYS.runtime(BAD), text),
    **{
        f"suite's {field}": lambda client, text, field=field: client.hset(KEYS.suite(BAD), field, text)
        for field in (
            *("status", "received_at", "expected_since", "failing_since", "last_fail", "total_failures", "recent"),
            *("consecutive_failures", "total:PASS", "total:X", "claimed_up_to", "checked_at", "last_test_received"),
            *("lease_until", "next_run", "open_bytes"),
        )
    },
    **{
        f"record's {field}": lambda client, text, field=field: client.hset(KEYS.test(BAD, "open"), field, text)
        for field in (
            *("payload", "recorded_at", "expires_at", "lease_until", "attempts", "closing", "layout", "not_before"),
            *("sent_at", "sends", "outcome", "use", "nonce"),
        )
    },
}

#: Keys, each of which gets a value of each other type.
TYPED = {
    "settings": KEYS.cases,
    "shared": KEYS.shared,
    "counters": KEYS.counters,
    "beat": KEYS.beat,
    "schedules": KEYS.schedules,
    "seen": KEYS.seen,
    "processes": KEYS.processes,
    "suite": KEYS.suite(BAD),
    "open": KEYS.open(BAD),
    "runtime": KEYS.runtime(BAD),
    "latency": KEYS.latency(BAD),
    "frequency": KEYS.frequency(BAD),
    "reports": KEYS.reports(BAD),
    "record": KEYS.test(BAD, "open"),
    "signals": KEYS.signals(BAD, "open"),
}
TYPES: dict[str, Callable[[redis.Redis, str], object]] = {
    "string": lambda client, key: client.set(key, "x"),
    "list": lambda client, key: client.rpush(key, "x"),
    "set": lambda client, key: client.sadd(key, "x"),
    "zset": lambda client, key: client.zadd(key, {"x": 1}),
    "hash": lambda client, key: client.hset(key, "x", "x"),
    "stream": lambda client, key: client.xadd(key, {"x": "x"}),
}


@pytest.fixture
def livecheck(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> LiveCheck:
    """Three registered cases with a verdict each, of which the middle one also has an open test that is due."""
    app = Celery("shop", broker=redis_url, set_as_current=False)
    livecheck = LiveCheck(app, redis_url=redis_url)
    for name in (GOOD, BAD, LAST):
        livecheck.add_case(
            type("test_case", (Case,), {"run": lambda self: None}), name=name, signals=[Signal("stored")]
        )
    register_cases(livecheck)
    store = livecheck.runtime.store
    for name in (GOOD, BAD, LAST):
        play(store, State.PASS, case_name=name)
    store.executions.record(make_test("open", BAD), expires_in=60)
    store.liveness.beat_seen()
    store.liveness.schedules_seen()
    run_a_worker(store, GOOD, BAD, LAST)
    module = ModuleType("shop_app")
    module.app = app
    monkeypatch.setitem(sys.modules, "shop_app", module)
    return livecheck


@pytest.fixture
def plain_client(redis_url: str) -> Any:
    """A client of somebody who writes to the same Redis."""
    with redis.Redis.from_url(redis_url) as client:
        yield client
        client.flushdb()


def restorer(client: redis.Redis) -> Callable[[], None]:
    """Return a function that restores the keys of LiveCheck as they are now."""
    before = {key: client.dump(key) for key in client.keys("livecheck:*")}

    def restore() -> None:
        client.delete(*client.keys("livecheck:*"))
        for key, dumped in before.items():
            client.restore(key, 0, dumped)

    return restore


def check_readers(livecheck: LiveCheck) -> None:
    """Check that all readers work, and that the good cases are as before."""
    status = run("status", "--json")
    assert status.exit_code == 0, status.output
    cases = {case["name"]: case for case in json.loads(status.stdout)["cases"]}
    assert {cases[name]["status"] for name in (GOOD, LAST)} == {"PASS"}
    for command in (["status"], ["cases"], ["reports"], ["reports", "--json"]):
        done = run(*command)
        assert done.exit_code == 0, (command, done.output)
        assert GOOD in done.stdout
        assert LAST in done.stdout
    doctor = run("doctor")
    assert doctor.exit_code in (0, 1), doctor.output
    assert not isinstance(doctor.exception, Exception), doctor.exception

    runtime = livecheck.runtime
    runtime.shared_config.refresh()
    due = make_test("due", LAST)
    runtime.store.executions.record(due, expires_in=0)
    wait_until(lambda: runtime.store.executions.due(LAST, 1), what="the test of another case is due")
    runtime.store.client.delete(KEYS.schedules)
    tasks = Tasks([livecheck])
    tasks.recover()
    assert not runtime.store.executions.due(LAST, 1), "the sweep reached the case after the bad one"
    tasks.check_stalled()
    assert runtime.store.liveness.read().schedules is not None
    health = runtime.store.suites.health(dict.fromkeys((GOOD, BAD, LAST)))
    assert health.statuses[GOOD] is State.PASS


@pytest.mark.promise("A value in Redis that LiveCheck did not write costs only itself.", theme="input")
@pytest.mark.parametrize("place", PLACES)
def test_unreadable_value_costs_only_itself(livecheck: LiveCheck, plain_client: redis.Redis, place: str) -> None:
    restore = restorer(plain_client)
    for text in (b"x", b"3", b'{"probability": "x"}', b"\xff\xfe"):
        restore()
        PLACES[place](plain_client, text)
        plain_client.zadd(KEYS.open(BAD), {"open": 1})
        check_readers(livecheck)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:20]))
def test_unreadable_value_in_all_places_costs_only_those(
    livecheck: LiveCheck, plain_client: redis.Redis, text: bytes
) -> None:
    for write in PLACES.values():
        write(plain_client, text)
    plain_client.zadd(KEYS.open(BAD), {"open": 1})
    plain_client.hset(KEYS.shared, "revision", text[:9] or "-")
    check_readers(livecheck)


@pytest.mark.parametrize("name", TYPED)
def test_key_of_another_type_costs_only_itself(livecheck: LiveCheck, plain_client: redis.Redis, name: str) -> None:
    key, restore = TYPED[name], restorer(plain_client)
    right = plain_client.type(key)
    for kind, write in TYPES.items():
        if kind.encode() == right:
            continue
        restore()
        plain_client.zadd(KEYS.open(BAD), {"open": 1})
        plain_client.delete(key)
        write(plain_client, key)
        check_readers(livecheck)


def test_doctor_names_the_values_and_the_count_of_those_that_services_skipped(
    livecheck: LiveCheck, plain_client: redis.Redis
) -> None:
    assert "ok     data        every value in Redis can be read" in run("doctor").stdout
    plain_client.hset(KEYS.cases, BAD, b'{"probability": "x"}')
    plain_client.hset(KEYS.shared, mapping={f"override:probability:{BAD}": b"\xff", "revision": "2"})
    livecheck.runtime.shared_config.refresh()
    livecheck.runtime.outbox.start()
    assert livecheck.flush(10)
    lines = "\n".join(line for line in run("doctor").stdout.splitlines() if "  data  " in line)
    assert f"{KEYS.cases}, field {BAD} is skipped, as LiveCheck did not write it: probability: " in lines
    assert f"{KEYS.shared}, field override:probability:{BAD} is skipped" in lines
    assert "processes skipped 1 values in Redis that LiveCheck did not write" in lines


def test_value_of_an_option_that_cannot_be_used_leaves_the_others_in_force(
    livecheck: LiveCheck, plain_client: redis.Redis
) -> None:
    livecheck.runtime.store.registry.override(BAD, {"active": False})
    plain_client.hset(KEYS.shared, mapping={f"override:probability:{BAD}": '{"value": 7, "at": 1}', "revision": "2"})
    livecheck.runtime.shared_config.refresh()
    assert livecheck.cases[BAD].active is False
    assert livecheck.cases[BAD].probability == 0.5


def test_worker_registers_the_other_cases_when_keys_have_another_type(
    livecheck: LiveCheck, plain_client: redis.Redis
) -> None:
    for key in (KEYS.cases, KEYS.suite(BAD)):
        plain_client.delete(key)
        plain_client.set(key, "x")
    register_cases(livecheck)
    plain_client.delete(KEYS.cases)
    register_cases(livecheck)
    assert list(livecheck.runtime.store.registry.cases()) == [GOOD, BAD, LAST]


@pytest.mark.parametrize(
    "field", ["use", "nonce", "recorded_at", "expires_at", "lease_until", "attempts", "layout", "closing"]
)
@pytest.mark.parametrize("value", [b"x", b"1e300", b"\xff", b"nan"])
def test_message_of_a_test_whose_record_is_bad_is_one_log_line(
    livecheck: LiveCheck, plain_client: redis.Redis, caplog: pytest.LogCaptureFixture, field: str, value: bytes
) -> None:
    plain_client.hset(KEYS.test(BAD, "open"), field, value)
    task: Any = livecheck.app.tasks[EXECUTE]
    with suppress(Ignore):
        task.run(**{CASE_KEYWORD: BAD, TEST_KEYWORD: make_test("open", BAD).as_message()})
    assert "Traceback" not in caplog.text
    assert task.run(**{CASE_KEYWORD: LAST, TEST_KEYWORD: make_test("next", LAST).as_message()}) == "PASS"


def test_entries_of_settings_in_redis_replace_no_result(livecheck: LiveCheck, plain_client: redis.Redis) -> None:
    plain_client.hset(KEYS.cases, BAD, '{"status": "FAIL", "name": "evil", "total_failures": 7, "declared": 3}')
    [case] = [case for case in json.loads(run("status", "--json").stdout)["cases"] if case["name"] == BAD]
    assert (case["status"], case["total_failures"], case["declared"]) == ("PASS", 0, True)
