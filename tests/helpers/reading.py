"""Commands of the command line on the app of `livecheck` in ``tests/unit/cli/conftest.py``, and tests to read."""

from __future__ import annotations

from click.testing import Result

from livecheck_celery import State, cli
from livecheck_celery.store import Store
from livecheck_celery.store.liveness import RunningProcess
from tests.helpers.cli_runner import invoke
from tests.helpers.factories import make_report, make_test

CASE = "shop.test_order"


def run(*arguments: str, stdin: str | None = None) -> Result:
    """Run a command with ``-A shop_app``."""
    return invoke(cli.livecheck, ("-A", "shop_app", *arguments), input=stdin)


def play(store: Store, state: State, test_id: str = "id-1", runtime: float = 0.25, case_name: str = CASE) -> None:
    """Record, claim and finish a test."""
    test = make_test(test_id, case_name)
    store.executions.record(test, expires_in=60)
    store.executions.claim(
        test, token="t", address="a", lease=30, active=True, frequency=None, max_history=100, expires_in=60
    )
    report = make_report(state, test, runtime=runtime, error=None if state is State.PASS else "it\nbroke")
    store.executions.verdict(report, "t", max_history=100, state_transition_delay=60)


def run_a_worker(store: Store, *cases: str) -> None:
    """Record a running worker that declares ``cases``."""
    store.liveness.sign_in(RunningProcess("w", "worker", "celery@here", "here", 7), cases)
