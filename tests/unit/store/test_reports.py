"""Reports: capped, merged over several cases, followed."""

import logging
from dataclasses import replace
from typing import Any

import pytest
import redis

from livecheck_celery.models import State
from livecheck_celery.store import Store, database
from tests.helpers.executions import claim, judge
from tests.helpers.factories import CASE, make_report, make_settings, make_signal, make_test
from tests.helpers.waiting import wait_until

OTHER = "shop.test_other"


def errors(store: Store, *case_names: str, count: int = 100) -> list[str | None]:
    return [report.error for report in store.reports.latest(case_names, count=count)]


def post(store: Store, *whys: str, case_name: str = CASE) -> None:
    for why in whys:
        store.reports.post(make_report(State.ERROR, case_name=case_name, error=why))


def test_posted_report_is_returned_and_read_with_its_time(store: Store) -> None:
    before = store.time()
    posted = store.reports.post(make_report(State.ERROR, error="why"))
    assert posted.at is not None
    assert before <= posted.at <= store.time()
    assert store.reports.latest([CASE], count=1) == [posted]


def test_time_of_a_report_is_replaced_when_it_is_posted(store: Store) -> None:
    posted = store.reports.post(make_report(at=1.0))
    assert posted.at != 1.0
    assert store.reports.latest([CASE], count=1) == [posted]


def test_reports_of_several_cases_are_merged_in_order_of_arrival(store: Store) -> None:
    post(store, "1")
    post(store, "2", case_name=OTHER)
    post(store, "3")
    post(store, "4", case_name=OTHER)
    assert errors(store, OTHER, CASE) == ["1", "2", "3", "4"]
    assert errors(store, CASE, OTHER, count=3) == ["2", "3", "4"]
    assert errors(store, CASE) == ["1", "3"]
    assert errors(store, CASE, count=0) == errors(store) == []


def test_long_texts_are_cut_where_they_are_stored(store: Store, redis_client: redis.Redis) -> None:
    store.reports.post(make_report(State.ERROR, case_name="x" * 5_000_000, error="y" * 30_000_000), unknown_case=True)
    [report] = store.reports.latest(None, count=10)
    assert (report.case_name, report.error) == ("x" * 200, "y" * 2_000)
    store.signals.send(replace(make_signal(), error="z" * 30_000_000), ttl=60)
    assert redis_client.hstrlen(store.keys.signals(CASE, "id-1"), "order_sent") < 3_000


def test_reports_of_all_cases_include_unregistered_ones(store: Store, redis_client: redis.Redis) -> None:
    store.registry.register(CASE, {})
    post(store, "1")
    store.reports.post(make_report(State.ERROR, case_name="typo", error="2"), unknown_case=True)
    found = store.reports.latest(None, count=10)
    assert [(report.case_name, report.error) for report in found] == [(CASE, "1"), ("typo", "2")]
    assert redis_client.exists("livecheck:{?}:reports")
    assert not redis_client.exists("livecheck:{typo}:reports")


def test_stream_is_capped_to_the_newest_reports(redis_client: redis.Redis) -> None:
    store = Store(make_settings("redis://fake", max_reports=3), redis_client)
    post(store, *"12345")
    assert errors(store, CASE) == ["3", "4", "5"]
    claim(store, make_test())
    judge(store, make_test(), State.FAIL, error="6")
    assert errors(store, CASE) == ["4", "5", "6"]
    store.suites.fail(
        CASE, state=State.FAIL, report=make_report(State.FAIL, error="7"), state_transition_delay=60, token="f"
    )
    assert errors(store, CASE) == ["5", "6", "7"]


def stored_bytes(client: redis.Redis, store: Store) -> int:
    entries: Any = client.xrange(store.keys.reports(CASE))
    return sum(len(fields["report"]) for _, fields in entries)


@pytest.mark.promise("Reports of a case are bounded by number, bytes and age.", theme="verdicts")
def test_oldest_reports_over_the_limit_of_bytes_are_removed(redis_client: redis.Redis) -> None:
    store = Store(make_settings("redis://fake", max_report_bytes=10_000), redis_client)
    for number in range(60):
        post(store, f"{number}" + "x" * (number % 3) * 900)
        assert stored_bytes(redis_client, store) <= 10_000
    assert stored_bytes(redis_client, store) > 8_000
    kept = [str(error).rstrip("x") for error in errors(store, CASE)]
    assert kept == [str(number) for number in range(60 - len(kept), 60)]
    claim(store, make_test(test_args=["y" * 20_000]))
    judge(store, make_test(test_args=["y" * 20_000]), State.FAIL, error="larger than all")
    assert errors(store, CASE) == ["larger than all"]


@pytest.mark.promise("Reports of all cases are bounded by bytes, however many cases there are.", theme="bounds")
def test_reports_of_many_cases_share_the_limit_of_bytes(redis_client: redis.Redis) -> None:
    cases = ["one"]
    settings = make_settings("redis://fake", max_report_bytes=10_000, max_all_report_bytes=20_000)
    store = Store(settings, redis_client, cases=cases)
    for declared, most in ((1, 10_000), (2, 10_000), (4, 5_000), (10, 2_000)):
        cases[:] = ["declared"] * declared
        for number in range(60):
            post(store, f"{number}")
        assert most - 1_000 < stored_bytes(redis_client, store) <= most
    cases[:] = ["declared"] * 30_000
    post(store, "last")
    assert errors(store, CASE) == ["last"], "the newest report of each case stays"


def test_old_reports_are_removed(store: Store, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    post(store, "old")
    assert redis_client.ttl(store.keys.reports(CASE)) == pytest.approx(30 * 24 * 3600, abs=5)
    monkeypatch.setattr(database, "REPORT_TTL", 1)

    def is_left() -> bool:
        post(store, "new")
        return "old" in errors(store, CASE)

    wait_until(lambda: not is_left(), 10, "old report removed")
    assert set(errors(store, CASE)) == {"new"}


def test_entries_of_others_do_not_prevent_reports(store: Store, redis_client: redis.Redis) -> None:
    for fields in ({"other": "field"}, {"report": "{", "total": "x"}, {"report": "{", "total": "1e99"}):
        redis_client.xadd(store.keys.reports(CASE), fields)
        post(store, "1")
    assert errors(store, CASE) == ["1"] * 3


def test_disabled_reports_change_nothing_else(redis_client: redis.Redis) -> None:
    store = Store(make_settings("redis://fake", send_reports=False), redis_client)
    assert store.reports.post(make_report()).at is not None
    assert store.suites.fail(
        CASE, state=State.FAIL, report=make_report(State.FAIL), state_transition_delay=60, token="f"
    )
    claim(store, make_test())
    assert judge(store, make_test(), State.FAIL).accepted
    assert not redis_client.exists(store.keys.reports(CASE))


def test_unreadable_report_is_left_out_and_logged(
    store: Store, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    post(store, "1")
    redis_client.xadd(store.keys.reports(CASE), {"report": "{not json"})
    redis_client.xadd(store.keys.reports(CASE), {"other": "field"})
    post(store, "2", case_name=OTHER)
    with caplog.at_level(logging.WARNING):
        assert errors(store, CASE, OTHER) == ["1", "2"]
    assert caplog.text.count("livecheck:{shop.test_order}:reports") == 1, "once a minute"
    assert len(store.unreadable.places) == 2


# -- follow


def test_following_starts_with_the_first_call_and_misses_nothing(store: Store) -> None:
    post(store, "old")
    positions: dict[str, str] = {}
    assert store.reports.follow([CASE, OTHER], positions, block=0) == []
    post(store, "1")
    post(store, "2", case_name=OTHER)
    assert [report.error for report in store.reports.follow([CASE, OTHER], positions, block=0)] == ["1", "2"]
    assert store.reports.follow([CASE, OTHER], positions, block=0) == []
    post(store, "3")
    assert [report.error for report in store.reports.follow([CASE, OTHER], positions, block=0)] == ["3"]


def test_case_added_while_following_is_read_from_its_first_report(store: Store) -> None:
    positions: dict[str, str] = {}
    assert store.reports.follow([CASE], positions, block=0) == []
    post(store, "1", "2", case_name=OTHER)
    assert [report.error for report in store.reports.follow([CASE, OTHER], positions, block=0)] == ["1", "2"]
    assert store.reports.follow([CASE, OTHER], positions, block=0) == []


def test_following_all_cases_includes_unregistered_ones(store: Store) -> None:
    positions: dict[str, str] = {}
    assert store.reports.follow(None, positions, block=0) == []
    store.reports.post(make_report(case_name="typo"), unknown_case=True)
    assert [report.case_name for report in store.reports.follow(None, positions, block=0)] == ["typo"]


def test_following_no_cases_returns_nothing(store: Store) -> None:
    assert store.reports.follow([], {}, block=0) == []


def test_following_waits_for_at_most_half_of_the_timeout_of_redis(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[int | None] = []

    def xread(streams: object, block: int | None) -> list[object]:
        waits.append(block)
        return []

    monkeypatch.setattr(store.client, "xread", xread)
    positions = {CASE: "0-0"}
    for seconds in (0.0, 0.3, 60.0):
        assert store.reports.follow([CASE], positions, block=seconds) == []
    assert waits == [None, 300, 1000], "the timeout is 2 s"
