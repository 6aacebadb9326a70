"""Executions with many concurrent callers, each on its own connection: one of them wins, and the counters add up."""

from collections import Counter
from collections.abc import Iterator

import pytest
import redis

from livecheck_celery.config import Settings
from livecheck_celery.errors import DuplicateTest
from livecheck_celery.models import State, TestExecution
from livecheck_celery.store import Claim, Store, Verdict
from livecheck_celery.store import executions as store_executions
from tests.helpers import executions
from tests.helpers.connected_stores import connected_stores
from tests.helpers.executions import due
from tests.helpers.factories import CASE, make_signal, make_test
from tests.helpers.waiting import at_once, wait_until

MANY = 50


@pytest.fixture
def stores(settings: Settings) -> Iterator[list[Store]]:
    with connected_stores(settings, MANY) as stores:
        yield stores


def claim(store: Store, test: TestExecution, token: str, **options: float) -> Claim:
    return executions.claim(store, test, token, **{"frequency": 1.0, "max_history": 1000, **options})


def judge(store: Store, test: TestExecution, token: str, state: State = State.PASS) -> Verdict:
    return executions.judge(store, test, state, token, max_history=1000, runtime=0.5)


def open_ids(store: Store, client: redis.Redis) -> list[str]:
    return list(client.zrange(store.keys.open(CASE), 0, -1))


def test_one_of_many_triggers_with_one_id_is_recorded(stores: list[Store], redis_client: redis.Redis) -> None:
    def trigger(number: int) -> bool:
        try:
            stores[number].executions.record(make_test(test_args=[number]), expires_in=60)
        except DuplicateTest:
            return False
        return True

    recorded = at_once(MANY, trigger)
    assert sum(recorded) == 1
    payload = redis_client.hget(stores[0].keys.test(CASE, "id-1"), "payload")
    assert f'"test_args":[{recorded.index(True)}]' in str(payload)


@pytest.mark.promise("When several workers receive one message, one of them runs the test.", theme="verdicts")
@pytest.mark.parametrize("recorded", [True, False])
def test_one_of_many_claims_runs(stores: list[Store], recorded: bool) -> None:
    claim(stores[0], make_test("earlier"), "earlier")
    if recorded:
        stores[0].executions.record(make_test(), expires_in=60)
    claims = at_once(MANY, lambda number: claim(stores[number], make_test(), f"t{number}"))
    assert Counter(one.outcome for one in claims) == {"run": 1, "busy": MANY - 1}
    assert {one.attempt for one in claims} == {1}
    assert len(stores[0].suites.statistics(CASE).frequency_history) == 1


def test_claim_repeated_many_times_runs_once_and_counts_once(stores: list[Store]) -> None:
    claim(stores[0], make_test("earlier"), "earlier")
    claims = at_once(MANY, lambda number: claim(stores[number], make_test(), "same"))
    assert {(one.outcome, one.attempt, one.recorded_at, one.expires_at) for one in claims} == {claims[0][:4]}
    assert claims[0].outcome == "run"
    assert len(stores[0].suites.statistics(CASE).frequency_history) == 1


def test_one_of_many_claims_of_a_lapsed_lease_runs(stores: list[Store]) -> None:
    claim(stores[0], make_test(), "dead", lease=0.2)
    due(stores[0])
    claims = at_once(MANY, lambda number: claim(stores[number], make_test(), f"t{number}"))
    assert Counter(one.outcome for one in claims) == {"run": 1, "busy": MANY - 1}
    assert {one.attempt for one in claims} == {2}
    assert not judge(stores[0], make_test(), "dead").accepted


@pytest.mark.promise("The first verdict from the holder of the lease stands; later ones are refused.", theme="verdicts")
def test_one_of_many_verdicts_with_different_tokens_counts(stores: list[Store]) -> None:
    stores[0].executions.record(make_test(), expires_in=60)
    claim(stores[0], make_test(), "t7")
    verdicts = at_once(MANY, lambda number: judge(stores[number], make_test(), f"t{number}", State.FAIL))
    assert [number for number, one in enumerate(verdicts) if one.accepted] == [7]
    found = stores[0].suites.statistics(CASE)
    assert (found.total_by_state, found.total_failures, found.consecutive_failures) == ({State.FAIL: 1}, 1, 1)


@pytest.mark.promise("A call whose reply was lost can be repeated; it counts once.", theme="verdicts")
def test_verdict_repeated_many_times_counts_once_and_gets_the_same_answer(stores: list[Store]) -> None:
    claim(stores[0], make_test(), "t")
    verdicts = at_once(MANY, lambda number: judge(stores[number], make_test(), "t"))
    assert set(verdicts) == {verdicts[0]}
    assert verdicts[0].accepted
    found = stores[0].suites.statistics(CASE)
    assert (found.total_by_state, found.runtime_history) == ({State.PASS: 1}, [0.5])
    assert len(stores[0].reports.latest([CASE], count=100)) == 1


@pytest.mark.promise(
    "Counters and reports change in the same step as the verdict, so they agree with it under concurrent workers.",
    theme="verdicts",
)
def test_counters_of_many_concurrent_executions_add_up(stores: list[Store], redis_client: redis.Redis) -> None:
    states = [State.PASS, State.FAIL, State.ERROR, State.TIMEOUT, State.SKIP]

    def run(number: int) -> bool:
        store, test, token = stores[number], make_test(str(number)), f"t{number}"
        store.executions.record(test, expires_in=60)
        return (
            claim(store, test, token).outcome == "run"
            and judge(store, test, token, states[number % len(states)]).accepted
        )

    assert all(at_once(MANY, run))
    found = stores[0].suites.statistics(CASE)
    assert found.total_by_state == dict.fromkeys(states, MANY // len(states))
    assert found.total_failures == 3 * MANY // len(states)
    assert len(found.runtime_history) == MANY // len(states)
    assert len(found.frequency_history) == len(found.latency_history) == MANY - 1
    assert len(stores[0].reports.latest([CASE], count=100)) == MANY
    assert open_ids(stores[0], redis_client) == []


def test_consecutive_failures_count_each_concurrent_failure_once(stores: list[Store]) -> None:
    def fail(number: int) -> int:
        claim(stores[number], make_test(str(number)), "t")
        return judge(stores[number], make_test(str(number)), "t", State.FAIL).consecutive_failures

    assert sorted(at_once(MANY, fail)) == list(range(1, MANY + 1))


def test_histories_stay_within_their_cap(stores: list[Store]) -> None:
    def run(number: int) -> None:
        test = make_test(str(number))
        claim(stores[number], test, "t", max_history=7)
        executions.judge(stores[number], test, State.PASS, "t", runtime=0.5, max_history=7)

    at_once(MANY, run)
    found = stores[0].suites.statistics(CASE)
    assert len(found.runtime_history) == len(found.frequency_history) == len(found.latency_history) == 7


def test_concurrent_renewals_keep_leases_and_refuse_other_tokens(stores: list[Store]) -> None:
    started = [claim(stores[0], make_test(str(number)), f"t{number}", lease=0.3).now for number in range(MANY)]
    lost = at_once(
        MANY,
        lambda number: stores[number].executions.renew(
            [(CASE, str(number), f"t{number}"), (CASE, str(number), "stranger")], 60.0
        ),
    )
    assert lost == [[(CASE, str(number), "stranger")] for number in range(MANY)]
    wait_until(lambda: stores[0].time() > max(started) + 0.3)
    assert {claim(stores[0], make_test(str(number)), "thief").outcome for number in range(MANY)} == {"busy"}


def test_verdict_among_renewals_leaves_nothing_open(stores: list[Store], redis_client: redis.Redis) -> None:
    claim(stores[0], make_test(), "t")
    held = [(CASE, "id-1", "t")]

    def act(number: int) -> bool:
        if number == MANY // 2:
            return judge(stores[number], make_test(), "t").accepted
        # A verdict of the same token is not a loss of the lease.
        return stores[number].executions.renew(held, 30.0) == []

    assert all(at_once(MANY, act))
    assert open_ids(stores[0], redis_client) == []
    assert stores[0].executions.renew(held, 30.0) == []


def test_one_of_many_releases_takes_effect(stores: list[Store], redis_client: redis.Redis) -> None:
    stores[0].executions.record(make_test(), expires_in=60)
    claim(stores[0], make_test(), "t")
    assert sum(at_once(MANY, lambda number: stores[number].executions.release(CASE, "id-1", "t"))) == 1
    assert redis_client.hget(stores[0].keys.test(CASE, "id-1"), "attempts") == "0"
    assert stores[0].executions.due(CASE, 10) == ["id-1"]


def test_either_a_verdict_or_a_concurrent_release_takes_effect(stores: list[Store]) -> None:
    for round_ in range(10):
        test = make_test(f"race-{round_}")
        claim(stores[0], test, "t")
        outcomes = at_once(
            2,
            lambda number, test=test: (
                judge(stores[0], test, "t").accepted if number else stores[1].executions.release(CASE, test.id, "t")
            ),
        )
        assert sorted(outcomes) == [False, True]


def test_due_is_the_same_for_concurrent_callers(stores: list[Store]) -> None:
    for number in range(5):
        stores[0].executions.record(make_test(str(number)), expires_in=0.01)
    wait_until(lambda: len(stores[0].executions.due(CASE, 10)) == 5)
    assert at_once(MANY, lambda number: stores[number].executions.due(CASE, 3)) == [["0", "1", "2"]] * MANY


# -- sweepers


def sweep(stores: list[Store]) -> Counter[str]:
    return Counter(at_once(MANY, lambda number: stores[number].executions.recover(CASE, "id-1", f"s{number}").action))


def test_one_of_many_sweepers_resends_an_unclaimed_test(stores: list[Store], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_executions, "RESEND_AFTER", 1.0)
    stores[0].executions.record(make_test(), expires_in=60)
    due(stores[0])
    assert sweep(stores) == {"resend": 1, "none": MANY - 1}


def test_one_of_many_sweepers_resends_a_test_whose_worker_died(stores: list[Store]) -> None:
    claim(stores[0], make_test(), "dead", lease=0.2)
    due(stores[0])
    assert sweep(stores) == {"send": 1, "none": MANY - 1}


def test_one_of_many_sweepers_closes_a_test_not_claimed_in_time(stores: list[Store]) -> None:
    stores[0].executions.record(make_test(), expires_in=0.2)
    due(stores[0])
    assert sweep(stores) == {"expired": 1, "none": MANY - 1}


def test_one_of_many_sweepers_closes_a_test_past_its_expiry_and_only_its_verdict_counts(stores: list[Store]) -> None:
    claim(stores[0], make_test(), "runner", expires_in=0.2)
    due(stores[0])
    actions = at_once(MANY, lambda number: stores[number].executions.recover(CASE, "id-1", f"s{number}").action)
    assert Counter(actions) == {"timeout": 1, "none": MANY - 1}
    sweeper = actions.index("timeout")
    verdicts = at_once(
        MANY,
        lambda number: (
            judge(stores[number], make_test(), f"s{number}", State.TIMEOUT)
            if number == sweeper
            else judge(stores[number], make_test(), "runner", State.PASS)
        ),
    )
    assert [number for number, one in enumerate(verdicts) if one.accepted] == [sweeper]
    assert stores[0].suites.statistics(CASE).total_by_state == {State.TIMEOUT: 1}


def test_one_of_many_sweepers_closes_a_test_whose_last_worker_died(
    stores: list[Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_executions, "MAX_ATTEMPTS", 1)
    claim(stores[0], make_test(), "dead", lease=0.2)
    due(stores[0])
    assert sweep(stores) == {"lost": 1, "none": MANY - 1}


def test_expired_test_goes_either_to_a_sweeper_or_to_a_late_message(stores: list[Store]) -> None:
    for round_ in range(10):
        test = make_test(f"race-{round_}")
        stores[0].executions.record(test, expires_in=0.01)
        wait_until(lambda test=test: test.id in stores[0].executions.due(CASE, 100))
        outcomes = at_once(
            2,
            lambda number, test=test: (
                claim(stores[0], test, "late").outcome
                if number
                else stores[1].executions.recover(CASE, test.id, "s").action
            ),
        )
        assert sorted(outcomes) in (["busy", "expired"], ["expired", "none"])


@pytest.mark.promise("Every key that an execution leaves in Redis expires or is capped.", theme="bounds")
def test_every_key_of_an_execution_expires(store: Store, redis_client: redis.Redis) -> None:
    store.executions.record(make_test("waiting"), expires_in=600, delay=100)
    store.signals.send(make_signal(key="ran"), ttl=60)
    claim(store, make_test("ran"), "t", expires_in=300)
    open_key, waiting, ran = store.keys.open(CASE), store.keys.test(CASE, "waiting"), store.keys.test(CASE, "ran")
    assert redis_client.ttl(waiting) == pytest.approx(600 + 100 + 86400, abs=2)
    assert redis_client.ttl(open_key) >= redis_client.ttl(waiting)
    assert redis_client.ttl(store.keys.signals(CASE, "ran")) == pytest.approx(300, abs=2)
    judge(store, make_test("ran"), "t")
    assert redis_client.ttl(ran) == pytest.approx(3600, abs=2)
    forever = {key for key in redis_client.scan_iter() if redis_client.ttl(key) == -1}
    assert forever == {store.keys.suite(CASE), store.keys.runtime(CASE), store.keys.open_cases}
