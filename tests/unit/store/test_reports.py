"""Reports: kept up to a cap, read over several cases in the order they came, followed."""

import logging

import pytest
import redis

from livecheck_celery.errors import InvalidPayload, RedisUnavailable
from livecheck_celery.models import State
from livecheck_celery.store import Store
from tests.helpers.executions import claim, judge
from tests.helpers.factories import CASE, make_report, make_settings, make_signal, make_test

OTHER = "shop.test_other"


def errors(store: Store, *case_names: str, count: int = 100) -> list[str | None]:
    return [report.error for report in store.reports.latest(case_names, count=count)]


def post(store: Store, *whys: str, case_name: str = CASE) -> None:
    for why in whys:
        store.reports.post(make_report(State.ERROR, case_name=case_name, error=why))


def test_a_posted_report_comes_back_with_its_time_and_is_read_so(store: Store) -> None:
    before = store.time()
    posted = store.reports.post(make_report(State.ERROR, error="why"))
    assert posted.at is not None
    assert before <= posted.at <= store.time()
    assert store.reports.latest([CASE], count=1) == [posted]


def test_a_time_given_is_replaced_not_doubled(store: Store) -> None:
    posted = store.reports.post(make_report(at=1.0))
    assert posted.at != 1.0
    assert store.reports.latest([CASE], count=1) == [posted]


def test_reports_of_several_cases_are_merged_in_the_order_they_came(store: Store) -> None:
    post(store, "1")
    post(store, "2", case_name=OTHER)
    post(store, "3")
    post(store, "4", case_name=OTHER)
    assert errors(store, OTHER, CASE) == ["1", "2", "3", "4"]
    assert errors(store, CASE, OTHER, count=3) == ["2", "3", "4"]
    assert errors(store, CASE) == ["1", "3"]
    assert errors(store, CASE, count=0) == errors(store) == []


def test_of_all_cases_the_undeclared_ones_too(store: Store, redis_client: redis.Redis) -> None:
    store.registry.register(CASE, {})
    post(store, "1")
    store.reports.post(make_report(State.ERROR, case_name="typo", error="2"), unknown_case=True)
    found = store.reports.latest(None, count=10)
    assert [(report.case_name, report.error) for report in found] == [(CASE, "1"), ("typo", "2")]
    assert redis_client.exists("livecheck:{?}:reports")
    assert not redis_client.exists("livecheck:{typo}:reports")


def test_the_stream_keeps_the_newest_and_no_more(redis_client: redis.Redis) -> None:
    store = Store(make_settings("redis://fake", max_reports=3), redis_client)
    post(store, *"12345")
    assert errors(store, CASE) == ["3", "4", "5"]
    claim(store, make_test())
    judge(store, make_test(), State.FAIL, error="6")
    assert errors(store, CASE) == ["4", "5", "6"]
    store.suites.fail(CASE, state=State.FAIL, report=make_report(State.FAIL, error="7"), state_transition_delay=60)
    assert errors(store, CASE) == ["5", "6", "7"]


def test_without_reports_everything_else_goes_on(redis_client: redis.Redis) -> None:
    store = Store(make_settings("redis://fake", send_reports=False), redis_client)
    assert store.reports.post(make_report()).at is not None
    assert store.suites.fail(CASE, state=State.FAIL, report=make_report(State.FAIL), state_transition_delay=60)
    claim(store, make_test())
    assert judge(store, make_test(), State.FAIL).accepted
    assert not redis_client.exists(store.keys.reports(CASE))


def test_a_report_that_cannot_be_read_is_left_out_and_logged(
    store: Store, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    post(store, "1")
    redis_client.xadd(store.keys.reports(CASE), {"report": "{not json"})
    redis_client.xadd(store.keys.reports(CASE), {"other": "field"})
    post(store, "2", case_name=OTHER)
    with caplog.at_level(logging.WARNING):
        assert errors(store, CASE, OTHER) == ["1", "2"]
    assert caplog.text.count("livecheck:{shop.test_order}:reports") == 2


# -- follow


def test_following_begins_now_and_misses_nothing(store: Store) -> None:
    post(store, "old")
    positions: dict[str, str] = {}
    assert store.reports.follow([CASE, OTHER], positions, block=0) == []
    post(store, "1")
    post(store, "2", case_name=OTHER)
    assert [report.error for report in store.reports.follow([CASE, OTHER], positions, block=0)] == ["1", "2"]
    assert store.reports.follow([CASE, OTHER], positions, block=0) == []
    post(store, "3")
    assert [report.error for report in store.reports.follow([CASE, OTHER], positions, block=0)] == ["3"]


def test_a_case_that_appears_while_following_is_read_from_its_beginning(store: Store) -> None:
    positions: dict[str, str] = {}
    assert store.reports.follow([CASE], positions, block=0) == []
    post(store, "1", "2", case_name=OTHER)
    assert [report.error for report in store.reports.follow([CASE, OTHER], positions, block=0)] == ["1", "2"]
    assert store.reports.follow([CASE, OTHER], positions, block=0) == []


def test_following_all_cases_includes_the_undeclared_ones(store: Store) -> None:
    positions: dict[str, str] = {}
    assert store.reports.follow(None, positions, block=0) == []
    store.reports.post(make_report(case_name="typo"), unknown_case=True)
    assert [report.case_name for report in store.reports.follow(None, positions, block=0)] == ["typo"]


def test_following_no_case_is_no_error(store: Store) -> None:
    assert store.reports.follow([], {}, block=0) == []


# -- batch


def test_a_batch_tells_which_tests_were_duplicates(store: Store) -> None:
    with store.batch() as batch:
        batch.record(make_test("a"), expires_in=60)
        batch.record(make_test("a"), expires_in=60)
        batch.signal(make_signal(key="a"), ttl=60)
        batch.record(make_test("b"), expires_in=60, delay=5)
        assert batch.outcomes == []
    assert [outcome if isinstance(outcome, str) else "done" for outcome in batch.outcomes] == [
        "done",
        "duplicate",
        "done",
        "done",
    ]
    assert list(store.signals.listen(CASE, "a", "here", ttl=60)) == ["order_sent"]


def test_an_empty_batch_is_nothing(store: Store) -> None:
    with store.batch() as batch:
        pass
    assert batch.outcomes == []


def test_a_batch_whose_block_raised_sends_nothing(store: Store, redis_client: redis.Redis) -> None:
    batch = store.batch()
    batch.record(make_test("a"), expires_in=60)
    with pytest.raises(InvalidPayload), batch:
        batch.record(make_test("b", test_args=[object()]), expires_in=60)
    assert redis_client.keys() == []


def test_a_write_that_fails_is_an_error_and_its_neighbours_are_done(store: Store, redis_client: redis.Redis) -> None:
    redis_client.set(store.keys.signals(CASE, "b"), "not a hash", ex=60)
    batch = store.batch()
    batch.record(make_test("a"), expires_in=60)
    batch.signal(make_signal(key="b"), ttl=60)
    with pytest.raises(RedisUnavailable, match="refused a command"), batch:
        batch.signal(make_signal(key="a"), ttl=60)
    assert [isinstance(outcome, float) for outcome in batch.outcomes] == [True, False, True]
