"""Message options in records: a program that can write to Redis must not name what a worker or a service then sends."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import redis
from celery import Celery

from livecheck_celery import Case, LiveCheck, State
from livecheck_celery.store.keys import Keys
from livecheck_celery.tasks.recovery import sweep
from tests.helpers.waiting import wait_until

CASE, KEYS = "shop.test_order", Keys("livecheck")
CALLBACK = {"task": "shop.delete_all", "args": [], "kwargs": {}, "options": {}, "immutable": True}


@pytest.fixture
def case(livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A case of a LiveCheck with a key, whose messages are sent again at once."""
    monkeypatch.setattr("livecheck_celery.store.executions.RESEND_AFTER", 0.05)
    return livecheck.add_case(type("test_order", (Case,), {"run": lambda self: None}), name=CASE)


def payload(client: redis.Redis, test_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(client.hget(KEYS.test(CASE, test_id), "payload") or "")
    return found


def resent(case: Any, client: redis.Redis, queue: str = "livecheck") -> list[dict[str, Any]]:
    """Lose all messages, and return those that the sweep sends again, with their headers and bodies."""
    client.delete("livecheck", "eu")
    wait_until(lambda: case.app.runtime.store.executions.due(CASE, 10), what="something is due")
    sweep(case)
    return [json.loads(text) for text in client.lrange(queue, 0, -1)]


@pytest.mark.parametrize("owner", ["shop.test_order:o-2", "none"])
@pytest.mark.parametrize(
    "message",
    [
        {"callbacks": [CALLBACK]},
        {"errbacks": [CALLBACK]},
        {"chain": [CALLBACK]},
        {"chord": CALLBACK},
        {"task_id": "of-another-task", "ignore_result": False},
        {"reply_to": "somebody"},
    ],
    ids=lambda message: next(iter(message)),
)
@pytest.mark.promise(
    "A program that can write to the Redis of the state cannot have another task run, if there is a `secret_key`.",
    theme="input",
)
def test_options_that_no_key_has_signed_are_ignored(
    case: Any, redis_client: redis.Redis, message: dict[str, Any], owner: str
) -> None:
    case.trigger.apply_async(["o-1"])
    case.trigger.apply_async(["o-2"], link=case.trigger.si("next"))
    signature = payload(redis_client, "o-2")["message_options"].partition(" ")[0] + " " if owner != "none" else ""
    forged = signature + json.dumps({"message": message, "sending": {"queue": "eu", "headers": {"x": 1}}})
    record = {**payload(redis_client, "o-1"), "message_options": forged}
    redis_client.hset(KEYS.test(CASE, "o-1"), "payload", json.dumps(record))
    redis_client.delete(KEYS.test(CASE, "o-2"))

    [sent] = resent(case, redis_client)
    assert not redis_client.exists("eu")
    assert "delete_all" not in base64.b64decode(sent["body"]).decode() + str(sent)
    assert sent["headers"]["id"] != "of-another-task"
    assert "x" not in sent["headers"]
    assert sent["properties"]["reply_to"] != "somebody"
    assert KEYS.test(CASE, "o-1") in "".join(case.app.runtime.store.unreadable.places)


def test_signed_options_of_another_test_are_ignored(case: Any, redis_client: redis.Redis) -> None:
    case.trigger.apply_async(["o-1"])
    case.trigger.apply_async(["o-2"], link=case.trigger.si("next"), queue="eu")
    moved = payload(redis_client, "o-2")["message_options"]
    for changed in (
        {"message_options": moved},
        {"message_options": moved, "nonce": payload(redis_client, "o-2")["nonce"]},
    ):
        record = {**payload(redis_client, "o-1"), **changed}
        redis_client.hset(KEYS.test(CASE, "o-1"), "payload", json.dumps(record))
        redis_client.zadd(KEYS.open(CASE), {"o-1": 0})
        redis_client.zrem(KEYS.open(CASE), "o-2")
        [sent] = resent(case, redis_client)
        assert "next" not in base64.b64decode(sent["body"]).decode()


def test_options_of_an_expired_test_that_is_written_back_are_ignored(case: Any, redis_client: redis.Redis) -> None:
    case.trigger.apply_async(["o-1"], link=case.trigger.si("next"), expires=0.3)
    record = redis_client.hgetall(KEYS.test(CASE, "o-1"))
    wait_until(lambda: case.app.runtime.store.executions.recover(CASE, "o-1", "t").action == "expired", what="expired")
    redis_client.hset(KEYS.test(CASE, "o-1"), mapping={**record, "expires_at": float(record["expires_at"]) + 600})
    redis_client.hdel(KEYS.test(CASE, "o-1"), "closing", "token", "lease_until")
    redis_client.zadd(KEYS.open(CASE), {"o-1": 0})
    [sent] = resent(case, redis_client)
    assert "next" not in base64.b64decode(sent["body"]).decode()


def test_options_survive_a_rotation_of_the_key(case: Any, redis_client: redis.Redis, redis_url: str) -> None:
    case.trigger.apply_async(["o-1"], queue="eu", task_id="given")
    keys = f"{'n' * 32},{case.app.settings.secret_key[0]}"
    app = Celery("shop", broker=redis_url, set_as_current=False)
    rotated = LiveCheck(app, redis_url=redis_url, secret_key=keys)
    other = rotated.add_case(type("test_order", (Case,), {"run": lambda self: None}), name=CASE)
    [sent] = resent(other, redis_client, "eu")
    assert sent["headers"]["id"] == "given"
    rotated.close()


@pytest.fixture
def without_key(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("livecheck_celery.store.executions.RESEND_AFTER", 0.05)
    livecheck = LiveCheck(Celery("shop", broker=redis_url, set_as_current=False), redis_url=redis_url)
    yield livecheck.add_case(type("test_order", (Case,), {"run": lambda self: None}), name=CASE)
    livecheck.close()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"message": 3, "sending": []},
        {"message": {"callbacks": "x", "unknown": 1}, "sending": {}},
        {"message": {"task_id": [1], "ignore_result": False}, "sending": {}},
        {"message": {"task_id": {"__type__": "uuid", "__value__": "x"}}, "sending": {}},
        {"message": {"time_limit": "x"}, "sending": {"unknown": 1}},
        {"message": {}, "sending": {"queue": [1]}},
        {"message": {}, "sending": {"queue": {"a": 1}}},
        {"message": {}, "sending": {"priority": "x", "headers": 3}},
        {"message": {}, "sending": {"compression": "bogus"}},
        {"message": {}, "sending": {"expiration": {"a": 1}, "delivery_mode": []}},
        {"message": {}, "sending": {"exchange": 3, "exchange_type": "bogus"}},
    ],
    ids=str,
)
def test_options_that_cannot_be_used_cost_only_that_test(
    without_key: Any, redis_client: redis.Redis, options: dict[str, Any]
) -> None:
    for test_id in ("o-0", "o-1", "o-2"):
        without_key.trigger(test_id)
    record = {**payload(redis_client, "o-1"), "message_options": json.dumps(options)}
    redis_client.hset(KEYS.test(CASE, "o-1"), "payload", json.dumps(record))
    redis_client.delete("livecheck")
    executions = without_key.app.runtime.store.executions
    wait_until(lambda: len(executions.due(CASE, 10)) == 3, what="all are due")
    sweep(without_key)
    sent = [json.loads(text) for text in redis_client.lrange("livecheck", 0, -1)]
    assert {"o-0", "o-2"} <= {
        test_id for test_id in ("o-0", "o-1", "o-2") for each in sent if f":{test_id}" in str(each)
    }


def test_result_of_a_closed_test_without_a_task_id_stops_no_sweep(without_key: Any, redis_client: redis.Redis) -> None:
    for test_id in ("o-0", "o-1"):
        without_key.trigger.apply_async([test_id], expires=0.01)
        record = {**payload(redis_client, test_id), "message_options": '{"message": {}, "sending": {}}'}
        redis_client.hset(KEYS.test(CASE, test_id), "payload", json.dumps(record))
    executions = without_key.app.runtime.store.executions
    wait_until(lambda: len(executions.due(CASE, 10)) == 2, what="both have expired")
    sweep(without_key)
    reports = without_key.app.runtime.store.reports.latest([CASE], count=9)
    assert [report.state for report in reports] == [State.SKIP, State.SKIP]
