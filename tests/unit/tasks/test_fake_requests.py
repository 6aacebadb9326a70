"""The lease of a fake request's run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from livecheck_celery import RedisUnavailable
from livecheck_celery.store.retry import Retry
from livecheck_celery.tasks.fake_requests import RunLease
from livecheck_celery.utils.interruption import Interruption
from tests.helpers.factories import CASE
from tests.helpers.waiting import wait_until


class Runs:
    """The schedule runs of a store; answers each renewal with the next of ``answers``, the last one repeatedly."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.renewals = 0
        self.finished: list[tuple[str, str]] = []

    def renew(self, case_name: str, token: str, *, lease: float) -> bool:
        self.renewals += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)

    def finish(self, case_name: str, token: str) -> bool:
        self.finished.append((case_name, token))
        return True


def make_lease(runs: Runs) -> RunLease:
    store: Any = SimpleNamespace(schedule_runs=runs)
    return RunLease(store, Retry(Interruption()), CASE, "token", lease=0.03)


def test_lease_is_renewed_during_the_block_and_finished_after_it() -> None:
    runs = Runs(True)
    with make_lease(runs):
        wait_until(lambda: runs.renewals > 2)
        assert runs.finished == []
    assert runs.finished == [(CASE, "token")]


def test_renewal_is_retried_after_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    runs = Runs(RedisUnavailable("refused"), True)
    with make_lease(runs):
        wait_until(lambda: runs.renewals > 2)
    assert caplog.messages == [f"fake requests: case {CASE}: lease not renewed: refused"]


def test_lost_lease_is_not_renewed_again() -> None:
    runs = Runs(False)
    with make_lease(runs) as lease:
        wait_until(lambda: runs.renewals)
        lease._over.wait(0.1)
    assert runs.renewals == 1


def test_block_runs_without_renewal_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", fail)
    runs = Runs(True)
    with make_lease(runs):
        pass
    assert (runs.renewals, runs.finished) == (0, [(CASE, "token")])


@pytest.mark.parametrize(("error", "finished"), [(ValueError, [(CASE, "token")]), (SystemExit, [])])
def test_run_is_finished_unless_the_worker_is_stopped(error: type[BaseException], finished: list[Any]) -> None:
    runs = Runs(True)
    with pytest.raises(error), make_lease(runs):
        raise error
    assert runs.finished == finished
