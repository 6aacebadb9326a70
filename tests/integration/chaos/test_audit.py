"""Every check of the chaos audit fails on the problem it looks for: each test causes one problem."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import redis

from chaos import audit
from chaos.audit import AuditInput
from chaos.ledger import Entry
from chaos.plan import SCHEDULED, Order
from chaos.snapshot import take_snapshot
from livecheck_celery.models import State
from livecheck_celery.store import Store
from tests.helpers.executions import claim, judge
from tests.helpers.factories import make_signal, make_test

START = "livecheck:{plain}:"


def order(number: int, kind: str, **fields: Any) -> Order:
    values = {
        "case": "plain",
        "trigger": "inline",
        "pay": "here",
        "ship": "task",
        "delay": 0.0,
        "countdown": 0.0,
        **fields,
    }
    return Order(id=f"order-{number}", kind=kind, value=f"value-{number}", **values)


ORDERS = [order(1, "pass"), order(2, "fail"), order(3, "timeout", ship="never"), order(4, "pass")]
VERDICTS = {"pass": State.PASS, "fail": State.FAIL, "timeout": State.TIMEOUT}


def run_order(store: Store, one: Order) -> Entry:
    """Trigger and execute the test of ``one``, with the expected verdict; return its entry of the ledger."""
    test = make_test(one.id, case_name=one.case)
    store.executions.record(test, expires_in=60.0)
    for name, value in one.signals.items():
        store.signals.send(make_signal(name, json.dumps(value), one.id, one.case), ttl=60.0)
    claim(store, test, max_history=100)
    judge(store, test, VERDICTS[one.kind], runtime=0.5, max_history=100)
    return Entry(one.id, one, triggered=True, sent=one.signals, stored=dict.fromkeys(one.signals, time.time() - 60))


@pytest.fixture
def entries(store: Store) -> dict[str, Entry]:
    return {one.id: run_order(store, one) for one in ORDERS}


def observe(client: redis.Redis, entries: dict[str, Entry], **fields: Any) -> AuditInput:
    return AuditInput(
        take_snapshot(client, ["plain", SCHEDULED]),
        entries,
        **{"fake_requests": [], "attempts": {}, "period": 1.0, "crashed": [], "stuck": [], **fields},
    )


def problems_of(found: AuditInput) -> dict[str, list[str]]:
    """Return the problems that the audit finds, by name of the check."""
    by_check = {check.__name__: list(check(found)) for check in audit.CHECKS}
    return {name: problems for name, problems in by_check.items() if problems}


def test_audit_of_a_correct_run_finds_no_problem(redis_client: redis.Redis, entries: dict[str, Entry]) -> None:
    assert problems_of(observe(redis_client, entries)) == {}


def reports(client: redis.Redis) -> list[tuple[str, dict[str, str]]]:
    found: Any = client.xrange(f"{START}reports")
    return list(found)


def delete_report(client: redis.Redis) -> None:
    client.xdel(f"{START}reports", reports(client)[0][0])


def delete_verdict(client: redis.Redis) -> None:
    client.hdel(f"{START}test:order-1", "verdict")


def duplicate_report(client: redis.Redis) -> None:
    fields: Any = reports(client)[0][1]
    client.xadd(f"{START}reports", fields)


def add_unknown_test(client: redis.Redis) -> None:
    client.hset(f"{START}test:unknown", "verdict", "PASS")
    client.expire(f"{START}test:unknown", 60)


def change_counter(client: redis.Redis) -> None:
    client.hincrby(f"{START}suite", "total:PASS", 1)


def change_verdict(client: redis.Redis) -> None:
    client.hset(f"{START}test:order-1", "verdict", "FAIL")
    client.hset(f"{START}test:order-2", "verdict", "PASS")


def delete_runtime(client: redis.Redis) -> None:
    client.rpop(f"{START}runtime")


def add_start(client: redis.Redis) -> None:
    client.rpush(f"{START}frequency", "0.1")


def change_total_failures(client: redis.Redis) -> None:
    client.hset(f"{START}suite", "total_failures", "7")


def change_consecutive_failures(client: redis.Redis) -> None:
    client.hset(f"{START}suite", "consecutive_failures", "7")


def change_signal(client: redis.Redis) -> None:
    text: Any = client.hget(f"{START}signals:order-1", "paid")
    client.hset(f"{START}signals:order-1", "paid", text.replace("value-1", "value-2"))


def lengthen_ttl(client: redis.Redis) -> None:
    client.expire(f"{START}test:order-1", 10_000)


def leave_test_open(client: redis.Redis) -> None:
    client.zadd(f"{START}open", {"order-1": 0.0})
    client.expire(f"{START}open", 60)


def add_foreign_key(client: redis.Redis) -> None:
    client.set("other", "1", ex=60)


def add_undocumented_key(client: redis.Redis) -> None:
    client.set(f"{START}other", "1", ex=60)


def remove_ttl(client: redis.Redis) -> None:
    client.persist(f"{START}test:order-1")


@pytest.mark.parametrize(
    ("tamper", "failing"),
    [
        pytest.param(tamper, failing, id=tamper.__name__)
        for tamper, failing in [
            (delete_report, {"no_missing_verdicts", "counters_match_reports", "histories_match_reports"}),
            (delete_verdict, {"no_missing_verdicts", "counters_match_reports"}),
            (lengthen_ttl, {"records_are_forgotten"}),
            (duplicate_report, {"no_duplicate_verdicts", "counters_match_reports", "histories_match_reports"}),
            (add_unknown_test, {"no_unknown_executions"}),
            (change_counter, {"counters_match_reports"}),
            (change_verdict, {"counters_match_reports"}),
            (delete_runtime, {"histories_match_reports"}),
            (add_start, {"histories_match_reports"}),
            (change_total_failures, {"histories_match_reports"}),
            (change_consecutive_failures, {"histories_match_reports"}),
            (change_signal, {"signal_values_match"}),
            (leave_test_open, {"no_open_executions"}),
            (add_foreign_key, {"keys_are_bounded"}),
            (add_undocumented_key, {"keys_are_bounded"}),
        ]
    ],
)
def test_changed_state_is_found(
    redis_client: redis.Redis, entries: dict[str, Entry], tamper: Callable[[redis.Redis], None], failing: set[str]
) -> None:
    tamper(redis_client)
    assert set(problems_of(observe(redis_client, entries))) == failing


def test_key_without_ttl_is_found(redis_client: redis.Redis, entries: dict[str, Entry]) -> None:
    remove_ttl(redis_client)
    found = observe(redis_client, entries)
    redis_client.expire(f"{START}test:order-1", 60)
    assert set(problems_of(found)) == {"keys_are_bounded"}


def test_pass_without_a_signal_is_found(redis_client: redis.Redis, entries: dict[str, Entry]) -> None:
    entries["order-1"].sent.pop("shipped")
    entries["order-1"].stored.pop("shipped")
    assert set(problems_of(observe(redis_client, entries))) == {"passes_have_their_signals", "signal_values_match"}


def test_pass_with_another_value_is_found(redis_client: redis.Redis, entries: dict[str, Entry]) -> None:
    entries["order-1"].order = replace(ORDERS[0], value="another")
    assert set(problems_of(observe(redis_client, entries))) == {"passes_have_their_signals"}


def test_timeout_after_the_signals_arrived_is_found(redis_client: redis.Redis, entries: dict[str, Entry]) -> None:
    entries["order-3"].order = replace(ORDERS[2], kind="pass")
    assert set(problems_of(observe(redis_client, entries))) == {"no_timeouts_after_signals", "verdicts_are_expected"}


@pytest.mark.parametrize(("attempts", "failing"), [(2, {"verdicts_are_expected"}), (3, set())])
def test_lost_worker_is_accepted_after_three_attempts(
    store: Store, redis_client: redis.Redis, entries: dict[str, Entry], attempts: int, failing: set[str]
) -> None:
    test = make_test("order-5", case_name="plain")
    store.executions.record(test, expires_in=60.0)
    claim(store, test, max_history=100)
    judge(store, test, State.ERROR, error="worker lost: it stopped without a verdict", max_history=100)
    entries["order-5"] = Entry("order-5", order(5, "pass"), triggered=True)
    assert set(problems_of(observe(redis_client, entries, attempts={"order-5": attempts}))) == failing


def test_forgotten_records_are_not_a_problem(redis_client: redis.Redis, entries: dict[str, Entry]) -> None:
    redis_client.delete(f"{START}test:order-1", f"{START}signals:order-1")
    assert problems_of(observe(redis_client, entries)) == {}


def test_unanswered_trigger_may_have_no_verdict(redis_client: redis.Redis, entries: dict[str, Entry]) -> None:
    entries["order-6"] = Entry("order-6", order(6, "pass"))
    assert problems_of(observe(redis_client, entries)) == {}
    entries["order-6"].triggered = True
    assert set(problems_of(observe(redis_client, entries))) == {"no_missing_verdicts"}


def test_anomaly_in_the_ledger_is_found(redis_client: redis.Redis, entries: dict[str, Entry]) -> None:
    entries["order-1"].anomalies.append("the HTTP request has the test order-2")
    assert set(problems_of(observe(redis_client, entries))) == {"context_is_propagated"}


def test_pending_message_is_found(redis_client: redis.Redis, entries: dict[str, Entry]) -> None:
    found = observe(redis_client, entries)
    found.snapshot.pending_messages["livecheck"] = 1
    assert set(problems_of(found)) == {"queues_are_empty"}


def test_too_many_fake_requests_are_found(redis_client: redis.Redis, entries: dict[str, Entry]) -> None:
    assert problems_of(observe(redis_client, entries, fake_requests=[1.0, 1.5, 2.6, 3.5])) == {}
    assert set(problems_of(observe(redis_client, entries, fake_requests=[1.0, 1.2, 1.4]))) == {
        "one_fake_request_per_period"
    }


@pytest.mark.parametrize(("logs", "failing"), [("crashed", "no_process_crashed"), ("stuck", "no_process_is_stuck")])
def test_crashed_or_stuck_process_is_found(
    redis_client: redis.Redis, entries: dict[str, Entry], logs: str, failing: str
) -> None:
    assert set(problems_of(observe(redis_client, entries, **{logs: ["worker-1.1.log"]}))) == {failing}
