"""The sweep, one sweeper at a time: which executions are due, and what to do about each."""

import pytest
import redis

from livecheck_celery import models
from livecheck_celery.errors import UnreadableData
from livecheck_celery.models import State
from livecheck_celery.store import Store
from livecheck_celery.store import executions as store_executions
from tests.helpers.executions import claim, due, judge
from tests.helpers.factories import CASE, make_test
from tests.helpers.waiting import wait_until


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Divide the delays of the sweep by a thousand."""
    for name in ("RESEND_AFTER", "MAX_RESEND", "CLOSING_LEASE"):
        monkeypatch.setattr(store_executions, name, getattr(store_executions, name) / 1000)


def test_due_lists_the_longest_overdue_first_up_to_the_limit(store: Store, quick: None) -> None:
    for number in range(5):
        store.executions.record(make_test(str(number)), expires_in=60)
    wait_until(lambda: len(store.executions.due(CASE, 10)) == 5)
    assert store.executions.due(CASE, 3) == ["0", "1", "2"]
    assert store.executions.due("shop.test_other", 3) == []


def test_unclaimed_test_is_resent_with_growing_delays(store: Store, redis_client: redis.Redis, quick: None) -> None:
    test = make_test(test_kwargs={"side": "sell"})
    store.executions.record(test, expires_in=60)
    for wait in (0.06, 0.12, 0.24, 0.48, 0.6, 0.6):
        due(store)
        before = store.time()
        assert store.executions.recover(CASE, "id-1", "s") == ("resend", test)
        after = store.time()
        assert before + wait <= redis_client.zscore(store.keys.open(CASE), "id-1") <= after + wait


def test_record_of_a_newer_layout_is_left_to_those_that_can_read_it(store: Store, redis_client: redis.Redis) -> None:
    test = store.executions.record(make_test(), expires_in=0)
    redis_client.hset(store.keys.test(CASE, "id-1"), "layout", models.LAYOUT + 1)
    before = redis_client.hgetall(store.keys.test(CASE, "id-1"))
    due(store)
    assert store.executions.recover(CASE, "id-1", "s") == ("none", None)
    assert store.executions.due(CASE, 1) == [], "not at once again"
    assert claim(store, test).outcome == "busy"
    assert not store.executions.revoke(test, "r")
    assert redis_client.hgetall(store.keys.test(CASE, "id-1")) == before


def test_running_test_needs_no_recovery(store: Store) -> None:
    claim(store, make_test())
    assert store.executions.recover(CASE, "id-1", "s") == ("none", None)
    assert judge(store, make_test(), State.PASS).accepted


def test_test_whose_worker_died_is_lost_after_three_attempts(store: Store, quick: None) -> None:
    store.executions.record(make_test(), expires_in=60)
    for attempt in (1, 2, 3):
        assert claim(store, make_test(), f"t{attempt}", lease=0.02).attempt == attempt
        due(store)
        action = store.executions.recover(CASE, "id-1", f"s{attempt}").action
        assert action == ("send" if attempt < 3 else "lost")
    due(store)
    assert claim(store, make_test(), "t4").outcome == "busy"
    assert judge(store, make_test(), State.ERROR, "s3").accepted


def test_message_that_found_the_test_held_again_is_replaced_when_its_worker_dies(store: Store, quick: None) -> None:
    """A worker that was frozen continues after its test was sent again: that message is refused, and gone."""
    store.executions.record(make_test(), expires_in=60)
    claim(store, make_test(), "frozen", lease=0.02)
    due(store)
    assert store.executions.recover(CASE, "id-1", "s").action == "send"
    assert store.executions.renew([(CASE, "id-1", "frozen")], 0.3) == []
    assert claim(store, make_test(), "other").outcome == "busy"
    due(store)
    assert store.executions.recover(CASE, "id-1", "s").action == "send", "it is not one that waits"


@pytest.mark.promise('A test that expires after its worker died is an ERROR, "worker lost".', theme="recovery")
def test_expired_test_whose_worker_died_is_lost(store: Store) -> None:
    store.executions.record(make_test(), expires_in=0.3)
    first = claim(store, make_test(), lease=0.02)
    wait_until(lambda: store.time() > first.expires_at)
    assert store.executions.recover(CASE, "id-1", "s").action == "lost"
    assert judge(store, make_test(), State.ERROR, "s").accepted


def test_test_that_runs_past_its_expiry_times_out_and_its_verdict_is_refused(store: Store) -> None:
    store.executions.record(make_test(), expires_in=0.3)
    claim(store, make_test(), lease=30.0)
    assert store.executions.renew([(CASE, "id-1", "t1")], 30.0) == []
    due(store)
    assert store.executions.recover(CASE, "id-1", "s").action == "timeout"
    assert store.executions.renew([(CASE, "id-1", "t1")], 30.0) == [(CASE, "id-1", "t1")]
    assert not judge(store, make_test(), State.PASS, "t1").accepted
    assert judge(store, make_test(), State.TIMEOUT, "s").accepted


def test_test_not_claimed_in_time_is_expired(store: Store) -> None:
    test = make_test(test_args=["a"])
    store.executions.record(test, expires_in=0.02)
    due(store)
    assert store.executions.recover(CASE, "id-1", "s") == ("expired", test)
    assert store.executions.recover(CASE, "id-1", "s") == ("expired", test)
    assert store.executions.recover(CASE, "id-1", "s2") == ("none", None)
    assert judge(store, make_test(), State.SKIP, "s").accepted
    assert store.executions.due(CASE, 10) == []


def test_claimer_of_an_expired_test_has_its_lease_to_write_the_verdict(store: Store) -> None:
    store.executions.record(make_test(), expires_in=0.02)
    due(store)
    assert claim(store, make_test(), lease=0.5).outcome == "expired"
    assert store.executions.recover(CASE, "id-1", "s").action == "none"
    assert store.executions.due(CASE, 10) == []
    due(store)
    assert store.executions.recover(CASE, "id-1", "s").action == "lost"


def test_next_sweeper_closes_a_test_for_the_same_reason_if_the_first_one_dies(store: Store, quick: None) -> None:
    store.executions.record(make_test(), expires_in=0.3)
    claim(store, make_test(), lease=30.0)
    due(store)
    assert store.executions.recover(CASE, "id-1", "s1").action == "timeout"
    due(store)
    assert claim(store, make_test(), "late").outcome == "busy"
    assert store.executions.recover(CASE, "id-1", "s2").action == "timeout"
    assert not judge(store, make_test(), State.TIMEOUT, "s1").accepted
    assert judge(store, make_test(), State.TIMEOUT, "s2").accepted


def test_test_without_a_record_is_removed_from_the_open_ones(
    store: Store, redis_client: redis.Redis, quick: None
) -> None:
    store.executions.record(make_test(), expires_in=60)
    redis_client.delete(store.keys.test(CASE, "id-1"))
    due(store)
    assert store.executions.recover(CASE, "id-1", "s") == ("none", None)
    assert redis_client.zcard(store.keys.open(CASE)) == 0


def test_unreadable_record_is_an_error_with_its_key_and_affects_no_other_test(
    store: Store, redis_client: redis.Redis, quick: None
) -> None:
    store.executions.record(make_test("bad"), expires_in=60)
    store.executions.record(make_test("good"), expires_in=60)
    redis_client.hset(store.keys.test(CASE, "bad"), "payload", "{not json")
    wait_until(lambda: len(store.executions.due(CASE, 10)) == 2)
    with pytest.raises(UnreadableData, match=r"livecheck:\{shop.test_order\}:test:bad"):
        store.executions.recover(CASE, "bad", "s")
    assert store.executions.recover(CASE, "good", "s").action == "resend"


# -- revoked tasks


def test_first_who_revokes_an_execution_writes_its_verdict_and_can_repeat_the_call(store: Store) -> None:
    test = store.executions.record(make_test(), expires_in=60)
    claim(store, test)
    assert store.executions.revoke(test, "r")
    assert store.executions.revoke(test, "r"), "its reply was lost"
    assert not store.executions.revoke(test, "another")
    assert not judge(store, test, State.PASS).accepted, "the runner's token is no longer current"
    assert judge(store, test, State.SKIP, "r").accepted
    assert not store.executions.revoke(test, "another")


def test_execution_that_the_message_of_a_revoked_task_does_not_mean_is_not_revoked(store: Store) -> None:
    earlier = store.executions.record(make_test(), expires_in=60)
    assert not store.executions.revoke(make_test("unknown"), "r")
    claim(store, earlier)
    judge(store, earlier)
    later = store.executions.record(make_test(), expires_in=60)
    assert not store.executions.revoke(earlier, "r"), "a message of an earlier use of the id"
    assert claim(store, later, "t2").outcome == "run"


def test_revoked_execution_whose_revoker_died_is_closed_by_the_sweep(store: Store, quick: None) -> None:
    test = store.executions.record(make_test(), expires_in=60)
    assert store.executions.revoke(test, "r")
    assert claim(store, test).outcome == "busy"
    due(store)
    assert store.executions.recover(CASE, "id-1", "s").action == "revoked"
