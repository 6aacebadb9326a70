"""Renewal of leases, on a store that loses some of them."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from livecheck_celery import RedisUnavailable
from livecheck_celery.execution import leases as leases_module
from livecheck_celery.execution.leases import Held, Leases
from tests.helpers.factories import CASE
from tests.helpers.waiting import wait_until


class Executions:
    """Records each renewal, and answers with ``lost`` or with an error."""

    def __init__(self) -> None:
        self.renewed: list[list[Held]] = []
        self.lost: list[Held] = []
        self.error: Exception | None = None

    def renew(self, held: list[Held], lease: float) -> list[Held]:
        self.renewed.append(sorted(held))
        if self.error is not None:
            raise self.error
        return self.lost


@pytest.fixture
def executions() -> Executions:
    return Executions()


@pytest.fixture
def leases(executions: Executions) -> Iterator[Leases]:
    store: Any = SimpleNamespace(executions=executions)
    leases = Leases(store, lease=0.03)
    yield leases
    leases.close()


def held(number: int) -> Held:
    return CASE, f"o-{number}", f"token-{number}"


def test_all_leases_are_renewed_together_until_they_are_dropped(leases: Leases, executions: Executions) -> None:
    leases.hold(held(1))
    leases.hold(held(2))
    wait_until(lambda: [held(1), held(2)] in executions.renewed)
    leases.drop(held(1))
    executions.renewed.clear()
    wait_until(lambda: [held(2)] in executions.renewed)


def test_each_process_renews_in_periods_of_its_own(executions: Executions, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def around(seconds: float) -> float:
        asked.append(seconds)
        return 0.01

    monkeypatch.setattr(leases_module, "around", around)
    leases = Leases(SimpleNamespace(executions=executions), lease=9.0)  # type: ignore[arg-type] # the one part it uses
    leases.hold(held(1))
    wait_until(lambda: len(executions.renewed) > 1)
    leases.close()
    assert set(asked) == {3.0}


def test_nothing_is_renewed_without_a_lease(leases: Leases, executions: Executions) -> None:
    leases.hold(held(1))
    leases.drop(held(1))
    executions.renewed.clear()
    leases._closed.wait(0.1)
    assert executions.renewed == []


def test_lost_lease_is_logged_once_and_not_renewed_again(
    leases: Leases, executions: Executions, caplog: pytest.LogCaptureFixture
) -> None:
    executions.lost = [held(1)]
    leases.hold(held(1))
    leases.hold(held(2))
    wait_until(lambda: [held(2)] in executions.renewed)
    assert caplog.messages == [f"leases: lease of {CASE}:o-1 lost; its verdict will be refused"]


def test_many_lost_leases_are_logged_as_one_line(
    leases: Leases, executions: Executions, caplog: pytest.LogCaptureFixture
) -> None:
    executions.lost = [held(number) for number in range(4)]
    for each in executions.lost:
        leases._held.add(each)
    leases.hold(held(9))
    wait_until(lambda: [held(9)] in executions.renewed)
    assert caplog.messages == ["leases: 4 leases lost; the verdicts of these tests will be refused"]


def test_renewal_is_retried_after_an_outage(
    leases: Leases, executions: Executions, caplog: pytest.LogCaptureFixture
) -> None:
    executions.error = RedisUnavailable("refused")
    leases.hold(held(1))
    wait_until(lambda: executions.renewed)
    executions.error = None
    executions.renewed.clear()
    wait_until(lambda: [held(1)] in executions.renewed)
    assert "leases: 1 leases not renewed: refused" in caplog.messages
