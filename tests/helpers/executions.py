"""The steps of an execution, with defaults for arguments that do not matter to a test."""

from __future__ import annotations

from typing import Any

from livecheck_celery.models import State, TestExecution
from livecheck_celery.store import Claim, Store, Verdict
from tests.helpers.factories import CASE, make_report
from tests.helpers.waiting import wait_until


def claim(store: Store, test: TestExecution, token: str = "t1", **options: Any) -> Claim:
    """Claim for 30 s, with an expiry of 60 s and histories of 3."""
    values = {"address": "here", "lease": 30.0, "active": True, "frequency": None, "max_history": 3, "expires_in": 60.0}
    return store.executions.claim(test, token=token, **{**values, **options})


def judge(store: Store, test: TestExecution, state: State = State.PASS, token: str = "t1", **options: Any) -> Verdict:
    """Write a verdict; ``options`` are of `Executions.verdict`, the others fields of the report."""
    values = {"max_history": 3, "state_transition_delay": 60.0}
    given = {name: options.pop(name) for name in (values.keys() | {"limits"}) & options.keys()}
    return store.executions.verdict(make_report(state, test, **options), token, **{**values, **given})


def due(store: Store) -> list[str]:
    """Wait until an execution is due; the ids of all that are."""
    return wait_until(lambda: store.executions.due(CASE, 100), what="an execution that is due")
