"""The audit of a chaos run finds whatever is wrong with one; each test breaks one thing, and sees that check red."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import redis

from chaos import audit
from chaos.audit import Run
from chaos.evidence import gather
from chaos.ledger import Entry
from chaos.plan import Order
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
ENDS = {"pass": State.PASS, "fail": State.FAIL, "timeout": State.TIMEOUT}


def happened(store: Store, one: Order) -> Entry:
    """Have ``one`` triggered and tested, as it is due; what the ledger knows of it."""
    test = make_test(one.id, case_name=one.case)
    store.executions.record(test, expires_in=60.0)
    for name, value in one.signals.items():
        store.signals.send(make_signal(name, json.dumps(value), one.id, one.case), ttl=60.0)
    claim(store, test, max_history=100)
    judge(store, test, ENDS[one.kind], runtime=0.5, max_history=100)
    return Entry(one.id, one, known=True, sent=one.signals, taken=dict.fromkeys(one.signals, time.time() - 60))


@pytest.fixture
def entries(store: Store) -> dict[str, Entry]:
    return {one.id: happened(store, one) for one in ORDERS}


def look(client: redis.Redis, entries: dict[str, Entry], **fields: Any) -> Run:
    return Run(
        gather(client, ["plain", "pulse"]),
        entries,
        **{"pulses": [], "attempts": {}, "period": 1.0, "died": [], "stuck": [], **fields},
    )


def wrong(run: Run) -> dict[str, list[str]]:
    """What the audit complains of, by the name of the check."""
    found = {check.__name__: list(check(run)) for check in audit.CHECKS}
    return {name: problems for name, problems in found.items() if problems}


def test_nothing_is_wrong_where_nothing_is(redis_client: redis.Redis, entries: dict[str, Entry]) -> None:
    assert wrong(look(redis_client, entries)) == {}


def reports(client: redis.Redis) -> list[tuple[str, dict[str, str]]]:
    found: Any = client.xrange(f"{START}reports")
    return list(found)


def lose_a_report(client: redis.Redis) -> None:
    client.xdel(f"{START}reports", reports(client)[0][0])


def lose_a_verdict(client: redis.Redis) -> None:
    client.hdel(f"{START}test:order-1", "verdict")


def report_twice(client: redis.Redis) -> None:
    fields: Any = reports(client)[0][1]
    client.xadd(f"{START}reports", fields)


def invent_a_test(client: redis.Redis) -> None:
    client.hset(f"{START}test:nobody", "verdict", "PASS")
    client.expire(f"{START}test:nobody", 60)


def miscount(client: redis.Redis) -> None:
    client.hincrby(f"{START}state", "total:PASS", 1)


def record_another_verdict(client: redis.Redis) -> None:
    client.hset(f"{START}test:order-1", "verdict", "FAIL")
    client.hset(f"{START}test:order-2", "verdict", "PASS")


def lose_a_runtime(client: redis.Redis) -> None:
    client.rpop(f"{START}runtime")


def start_one_twice(client: redis.Redis) -> None:
    client.rpush(f"{START}frequency", "0.1")


def miscount_failures(client: redis.Redis) -> None:
    client.hset(f"{START}state", "total_failures", "7")


def miscount_failures_in_a_row(client: redis.Redis) -> None:
    client.hset(f"{START}state", "consecutive_failures", "7")


def change_a_signal(client: redis.Redis) -> None:
    text: Any = client.hget(f"{START}signals:order-1", "paid")
    client.hset(f"{START}signals:order-1", "paid", text.replace("value-1", "value-2"))


def remember_for_ever(client: redis.Redis) -> None:
    client.expire(f"{START}test:order-1", 10_000)


def leave_one_open(client: redis.Redis) -> None:
    client.zadd(f"{START}open", {"order-1": 0.0})
    client.expire(f"{START}open", 60)


def leave_a_foreign_key(client: redis.Redis) -> None:
    client.set("other", "1", ex=60)


def leave_an_unlisted_key(client: redis.Redis) -> None:
    client.set(f"{START}other", "1", ex=60)


def forget_a_ttl(client: redis.Redis) -> None:
    client.persist(f"{START}test:order-1")


@pytest.mark.parametrize(
    ("tamper", "red"),
    [
        pytest.param(tamper, red, id=tamper.__name__)
        for tamper, red in [
            (lose_a_report, {"none_lost", "counters_agree", "histories_agree"}),
            (lose_a_verdict, {"none_lost", "counters_agree"}),
            (remember_for_ever, {"no_orphans"}),
            (report_twice, {"none_double", "counters_agree", "histories_agree"}),
            (invent_a_test, {"none_invented"}),
            (miscount, {"counters_agree"}),
            (record_another_verdict, {"counters_agree"}),
            (lose_a_runtime, {"histories_agree"}),
            (start_one_twice, {"histories_agree"}),
            (miscount_failures, {"histories_agree"}),
            (miscount_failures_in_a_row, {"histories_agree"}),
            (change_a_signal, {"signals_are_kept"}),
            (leave_one_open, {"nothing_open"}),
            (leave_a_foreign_key, {"keys_bounded"}),
            (leave_an_unlisted_key, {"keys_bounded"}),
        ]
    ],
)
def test_what_is_wrong_in_redis_is_found(
    redis_client: redis.Redis, entries: dict[str, Entry], tamper: Callable[[redis.Redis], None], red: set[str]
) -> None:
    tamper(redis_client)
    assert set(wrong(look(redis_client, entries))) == red


def test_a_key_without_ttl_is_found(redis_client: redis.Redis, entries: dict[str, Entry]) -> None:
    forget_a_ttl(redis_client)
    run = look(redis_client, entries)
    redis_client.expire(f"{START}test:order-1", 60)
    assert set(wrong(run)) == {"keys_bounded"}


def test_a_pass_without_a_signal_is_found(redis_client: redis.Redis, entries: dict[str, Entry]) -> None:
    entries["order-1"].sent.pop("shipped")
    entries["order-1"].taken.pop("shipped")
    assert set(wrong(look(redis_client, entries))) == {"passes_are_earned", "signals_are_kept"}


def test_a_pass_on_another_value_is_found(redis_client: redis.Redis, entries: dict[str, Entry]) -> None:
    entries["order-1"].order = replace(ORDERS[0], value="another")
    assert set(wrong(look(redis_client, entries))) == {"passes_are_earned"}


def test_a_timeout_although_the_signals_had_come_is_found(redis_client: redis.Redis, entries: dict[str, Entry]) -> None:
    entries["order-3"].order = replace(ORDERS[2], kind="pass")
    assert set(wrong(look(redis_client, entries))) == {"timeouts_are_real", "verdicts_are_right"}


@pytest.mark.parametrize(("attempts", "red"), [(2, {"verdicts_are_right"}), (3, set())])
def test_a_lost_worker_is_a_verdict_only_after_three(
    store: Store, redis_client: redis.Redis, entries: dict[str, Entry], attempts: int, red: set[str]
) -> None:
    test = make_test("order-5", case_name="plain")
    store.executions.record(test, expires_in=60.0)
    claim(store, test, max_history=100)
    judge(store, test, State.ERROR, error="worker lost: it stopped without a verdict", max_history=100)
    entries["order-5"] = Entry("order-5", order(5, "pass"), known=True)
    assert set(wrong(look(redis_client, entries, attempts={"order-5": attempts}))) == red


def test_what_is_forgotten_is_not_missed(redis_client: redis.Redis, entries: dict[str, Entry]) -> None:
    redis_client.delete(f"{START}test:order-1", f"{START}signals:order-1")
    assert wrong(look(redis_client, entries)) == {}


def test_what_may_not_have_been_triggered_may_be_missing(redis_client: redis.Redis, entries: dict[str, Entry]) -> None:
    entries["order-6"] = Entry("order-6", order(6, "pass"))
    assert wrong(look(redis_client, entries)) == {}
    entries["order-6"].known = True
    assert set(wrong(look(redis_client, entries))) == {"none_lost"}


def test_what_should_not_have_been_seen_is_found(redis_client: redis.Redis, entries: dict[str, Entry]) -> None:
    entries["order-1"].strays.append("carried order-2 over HTTP")
    assert set(wrong(look(redis_client, entries))) == {"carried_along"}


def test_messages_that_nobody_takes_are_found(redis_client: redis.Redis, entries: dict[str, Entry]) -> None:
    run = look(redis_client, entries)
    run.evidence.waiting["livecheck"] = 1
    assert set(wrong(run)) == {"queues_empty"}


def test_a_burst_of_fake_requests_is_found(redis_client: redis.Redis, entries: dict[str, Entry]) -> None:
    assert wrong(look(redis_client, entries, pulses=[1.0, 1.5, 2.6, 3.5])) == {}
    assert set(wrong(look(redis_client, entries, pulses=[1.0, 1.2, 1.4]))) == {"one_pulse_a_period"}


@pytest.mark.parametrize("what", ["died", "stuck"])
def test_a_program_that_ended_by_itself_or_not_at_all_is_found(
    redis_client: redis.Redis, entries: dict[str, Entry], what: str
) -> None:
    assert set(wrong(look(redis_client, entries, **{what: ["worker-1.1.log"]}))) == {f"none_{what}"}
