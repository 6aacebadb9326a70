"""Each operation of the store, called once with plausible arguments; and every script it declares."""

from __future__ import annotations

import pkgutil
import uuid
from collections.abc import Callable
from importlib import import_module
from typing import Any

from livecheck_celery import store as package
from livecheck_celery.models import State
from livecheck_celery.store import Claim, Store, Verdict
from livecheck_celery.store.liveness import RunningProcess
from livecheck_celery.store.open_cases import Due
from livecheck_celery.store.replies import Recovery
from livecheck_celery.store.schedule_runs import Window
from livecheck_celery.store.scripts import Script
from tests.helpers import executions
from tests.helpers.factories import CASE, make_report, make_signal, make_test


def _declared() -> dict[str, Script]:
    modules = [import_module(f"{package.__name__}.{one.name}") for one in pkgutil.iter_modules(package.__path__)]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Script)]
    assert len({one.name for one in found}) == len(found), "a script is declared twice"
    return {one.name: one for one in found}


#: By name, every script that a part of the store declares.
SCRIPTS = _declared()


def claim(store: Store, test_id: str = "id-1") -> Claim:
    return executions.claim(store, make_test(test_id), frequency=1.0)


def judge(store: Store, test_id: str = "id-1") -> Verdict:
    return executions.judge(store, make_test(test_id), State.FAIL)


#: One round trip each.
OPERATIONS: dict[str, Callable[[Store], Any]] = {
    "executions.record": lambda store: store.executions.record(make_test("new"), expires_in=60),
    "executions.claim": claim,
    "executions.verdict": judge,
    "executions.release": lambda store: store.executions.release(CASE, "id-1", "t1"),
    "executions.due": lambda store: store.executions.due(CASE, 10),
    "executions.unsent": lambda store: store.executions.unsent([Recovery("send", make_test("id-1"))]),
    "executions.make_due": lambda store: store.executions.make_due(CASE, ["id-1", "id-2"]),
    "executions.recover": lambda store: store.executions.recover(CASE, "id-1", "s"),
    "executions.put_off": lambda store: store.executions.put_off([make_test(recorded_at=1.0)], 5.0, 30.0),
    "executions.revoke": lambda store: store.executions.revoke(make_test(), "r"),
    "signals.send": lambda store: store.signals.send(make_signal(), ttl=60),
    "signals.drop": lambda store: store.signals.drop(CASE, ["new", "other"]),
    "signals.listen": lambda store: store.signals.listen(CASE, "id-1", "a", ttl=60),
    "signals.awaited": lambda store: store.signals.awaited([(CASE, str(at), ["a", "b"]) for at in range(200)]),
    "suites.fail": lambda store: store.suites.fail(
        CASE, state=State.FAIL, report=make_report(State.FAIL), state_transition_delay=60, token=uuid.uuid4().hex
    ),
    "suites.service_recovered": lambda store: store.suites.service_recovered(CASE, state_transition_delay=0),
    "suites.statistics": lambda store: store.suites.statistics(CASE),
    "suites.health": lambda store: store.suites.health({CASE: 9.0, "b": None}),
    "schedule_runs.claim": lambda store: store.schedule_runs.claim(CASE, Window(9.0, 4.5), token="t", lease=9.0),
    "schedule_runs.renew": lambda store: store.schedule_runs.renew(CASE, "t", lease=9.0),
    "schedule_runs.finish": lambda store: store.schedule_runs.finish(CASE, "t"),
    "schedule_runs.lapsed": lambda store: store.schedule_runs.lapsed([CASE, "b", "c"], lease=9.0),
    "registry.register": lambda store: store.registry.register(CASE, {}),
    "registry.cases": lambda store: store.registry.cases(),
    "registry.override": lambda store: store.registry.override(CASE, {"active": False}),
    "registry.override, with an end": lambda store: store.registry.override(
        CASE, {"probability": 0.5}, merge=True, by="alice", reason="a test", expires_in=60.0
    ),
    "registry.snapshot": lambda store: store.registry.snapshot(),
    "counters.add": lambda store: store.counters.add({"dropped: full": 1}),
    "counters.read": lambda store: store.counters.read(),
    "liveness.beat_seen": lambda store: store.liveness.beat_seen(),
    "liveness.schedules_seen": lambda store: store.liveness.schedules_seen(),
    "liveness.read": lambda store: store.liveness.read(),
    "liveness.claim_heartbeat": lambda store: store.liveness.claim_heartbeat(60.0),
    "reports.post": lambda store: store.reports.post(make_report()),
    "reports.latest": lambda store: store.reports.latest([CASE, "b", "c"], count=5),
    "time": lambda store: store.time(),
}


def renew(store: Store) -> list[tuple[str, str, str]]:
    return store.executions.renew([(CASE, "id-1", "t1"), (CASE, "other", "t1")], 30.0)


def forget(store: Store) -> None:
    """Several round trips."""
    store.registry.forget(CASE, ["id-1", "id-2"])


def sign_in(store: Store) -> None:
    """Two round trips for the first process that declares these cases, then one."""
    store.liveness.sign_in(RunningProcess("w", "worker", "w@here", "here", 7), [CASE])


def drop_open(store: Store) -> None:
    """Two round trips."""
    store.executions.open_cases.drop(["shop.test_gone", CASE])


def cases_due(store: Store) -> Due:
    return store.executions.open_cases.due([f"shop.test_{number}" for number in range(60)])


def check_stalled(store: Store) -> dict[str, float]:
    """One round trip while no suite is due and all are active, and three at most."""
    return store.suites.stalled({CASE: 9.0, "b": 0.0, "c": None})


def batch(store: Store) -> list[bool | str]:
    """Return for each write whether it was done, or why not."""
    with store.batch() as queued:
        for number in range(50):
            queued.record(make_test(str(number)), expires_in=60)
            queued.signal(make_signal(key=str(number)), ttl=60)
    return [isinstance(outcome, float) or outcome for outcome in queued.outcomes]
