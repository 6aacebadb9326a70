"""The time of Redis on a machine whose clock is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery

from livecheck_celery import Case, LiveCheck
from livecheck_celery.cases.arguments import build
from livecheck_celery.delivery.shared_config import SharedConfig
from livecheck_celery.store import Store
from livecheck_celery.utils import clock

AHEAD = timedelta(hours=3)


class Ahead(datetime):
    """The clock of a machine that is three hours ahead."""

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return datetime.now(tz) + AHEAD


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(clock, "datetime", Ahead)
    yield
    clock.adjust(0.0)


@pytest.mark.usefixtures("ahead")
def test_time_is_corrected_by_the_last_offset_that_was_measured() -> None:
    clock.adjust(AHEAD.total_seconds())
    clock.adjust(None)
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=1)


def test_small_offset_is_ignored() -> None:
    clock.adjust(0.5)
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=0.1)
    clock.adjust(0.0)


@pytest.mark.promise(
    "A test is not taken for expired on a machine whose clock is hours ahead or behind.", theme="propagation"
)
@pytest.mark.usefixtures("ahead")
def test_expiry_is_judged_by_the_time_of_redis(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    livecheck = LiveCheck(Celery("shop", broker="redis://127.0.0.1:1/0", set_as_current=False))
    clock.adjust(AHEAD.total_seconds())  # the service that triggers knows it
    test = build(livecheck.add_case(Case, name="c", test_expires=60.0), "o-1")
    clock.adjust(0.0)
    assert test.is_expired, "another machine that does not know that its clock is ahead"
    monkeypatch.setattr(store.liveness, "clock_offset", AHEAD.total_seconds)
    SharedConfig(store, print).refresh()
    assert not test.is_expired
    assert timedelta(seconds=50) < test.expires - datetime.now(UTC) < timedelta(seconds=61)
