"""Each operation of the store, called once with plausible arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from livecheck_celery.models import State
from livecheck_celery.store import Claim, Store, Verdict
from livecheck_celery.store.schedule_runs import Slot
from tests.helpers import executions
from tests.helpers.factories import CASE, make_report, make_signal, make_test


def claim(store: Store, test_id: str = "id-1") -> Claim:
    return executions.claim(store, make_test(test_id), frequency=1.0)


def judge(store: Store, test_id: str = "id-1") -> Verdict:
    return executions.judge(store, make_test(test_id), State.FAIL)


OPERATIONS: dict[str, Callable[[Store], Any]] = {
    "record": lambda store: store.record(make_test("new"), expires_in=60),
    "claim": claim,
    "verdict": judge,
    "signal": lambda store: store.signal(make_signal(), ttl=60),
    "listen": lambda store: store.listen(CASE, "id-1", "a", ttl=60),
    "awaited": lambda store: store.awaited([(CASE, str(number), ["a", "b"]) for number in range(200)]),
    "statistics": lambda store: store.statistics(CASE),
    "release": lambda store: store.release(CASE, "id-1", "t1"),
    "due": lambda store: store.due(CASE, 10),
    "look_again": lambda store: store.look_again(CASE, ["id-1", "id-2"]),
    "recover": lambda store: store.recover(CASE, "id-1", "s"),
    "suite_fail": lambda store: store.suite_fail(
        CASE, state=State.FAIL, report=make_report(State.FAIL), state_transition_delay=60
    ),
    "recovered": lambda store: store.recovered(CASE, state_transition_delay=0),
    "watch": lambda store: store.watch([CASE, "b", "c"]),
    "stalled": lambda store: store.stalled({CASE: 9.0, "b": 0.0, "c": None}),
    "health": lambda store: store.health({CASE: 9.0, "b": None}),
    "claim_slot": lambda store: store.claim_slot(CASE, Slot(9.0, 4.5), token="t", lease=9.0),
    "renew_slot": lambda store: store.renew_slot(CASE, "t", lease=9.0),
    "finish_slot": lambda store: store.finish_slot(CASE, "t"),
    "lapsed_slots": lambda store: store.lapsed_slots([CASE, "b", "c"], lease=9.0),
    "claim_heartbeat": lambda store: store.claim_heartbeat(60.0),
    "post_report": lambda store: store.post_report(make_report()),
    "reports": lambda store: store.reports([CASE, "b", "c"], count=5),
    "cases": lambda store: store.cases(),
    "register": lambda store: store.register(CASE, {}),
    "override": lambda store: store.override(CASE, {"active": False}),
    "wired": lambda store: store.wired(),
    "tally": lambda store: store.tally({"dropped: full": 1}),
    "tallied": lambda store: store.tallied(),
    "beat_seen": lambda store: store.beat_seen(),
    "schedules_seen": lambda store: store.schedules_seen(),
    "signs_of_life": lambda store: store.signs_of_life(),
    "time": lambda store: store.time(),
}


def renew(store: Store) -> list[tuple[str, str, str]]:
    return store.renew([(CASE, "id-1", "t1"), (CASE, "other", "t1")], 30.0)


def cases_due(store: Store) -> list[str]:
    return store.cases_due([f"shop.test_{number}" for number in range(100)])


def batch(store: Store) -> list[bool | str]:
    with store.batch() as queued:
        for number in range(50):
            queued.record(make_test(str(number)), expires_in=60)
            queued.signal(make_signal(key=str(number)), ttl=60)
    return [isinstance(outcome, float) or outcome for outcome in queued.outcomes]
