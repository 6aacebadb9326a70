"""The end of the wait for a signal: arrival times, outages, and the last read."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, wait
from dataclasses import replace
from typing import Any

import pytest

from livecheck_celery.execution.waiting import Wait
from livecheck_celery.models import SignalEvent
from tests.helpers.factories import make_signal

#: Redis time at the start of the monotonic clock.
AHEAD = 1_000_000.0


class Contact:
    """A process that was without contact for ``outage`` seconds; its last read delivers ``stored``."""

    def __init__(self, future: Future[SignalEvent]) -> None:
        self.future = future
        self.outage = 0.0
        self.stored: SignalEvent | None = None
        self.reads = 0
        self.answers = True

    def outage_since(self, moment: float) -> float:
        return self.outage

    def read_awaited_soon(self) -> Future[None]:
        self.reads += 1
        read: Future[None] = Future()
        if self.answers:
            if self.stored is not None:
                self.future.set_result(self.stored)
            read.set_result(None)
        return read


@pytest.fixture
def future() -> Future[SignalEvent]:
    return Future()


@pytest.fixture
def contact(future: Future[SignalEvent]) -> Contact:
    return Contact(future)


def run(contact: Contact, limit: float = 0.05, latest: float = 5.0) -> tuple[Any, float]:
    """Wait; return the outcome and the seconds it took."""
    one = Wait(contact, contact.future, limit=limit, latest=time.monotonic() + latest, redis_ahead=AHEAD)
    for awaited, left in one.steps():
        wait([awaited], left)
    return one.result(), time.monotonic() - one.started


def arrived(seconds: float) -> SignalEvent:
    """A signal that Redis received ``seconds`` from now."""
    return replace(make_signal(), received_at=time.monotonic() + seconds + AHEAD)


def test_signal_that_has_arrived_needs_no_read(contact: Contact) -> None:
    contact.future.set_result(arrived(0))
    assert run(contact)[0] is contact.future.result()
    assert contact.reads == 0


def test_stored_signals_are_read_before_a_timeout(contact: Contact) -> None:
    outcome, took = run(contact)
    assert (outcome, contact.reads) == (None, 1)
    assert took == pytest.approx(0.05, abs=0.2)
    contact.stored = arrived(0)
    assert run(contact)[0] is contact.stored


def test_time_without_contact_does_not_count(contact: Contact) -> None:
    contact.outage = 0.3
    assert run(contact)[1] == pytest.approx(0.35, abs=0.2)


def test_read_without_an_answer_is_repeated_until_the_latest_time(contact: Contact) -> None:
    contact.answers = False
    outcome, took = run(contact, latest=0.3)
    assert outcome is None
    assert took == pytest.approx(0.3, abs=0.2)


def test_outage_does_not_extend_the_wait_beyond_the_latest_time(contact: Contact) -> None:
    contact.outage = 60.0
    assert run(contact, latest=0.2)[1] == pytest.approx(0.2, abs=0.2)


@pytest.mark.parametrize(("arrival", "counts"), [(0.0, True), (0.4, False)])
def test_arrival_time_decides_when_the_thread_wakes_up_late(contact: Contact, arrival: float, counts: bool) -> None:
    one = Wait(contact, contact.future, limit=0.05, latest=time.monotonic() + 5, redis_ahead=AHEAD)
    contact.future.set_result(arrived(arrival))
    threading.Event().wait(0.4)  # as if the process was suspended
    assert (one.result() is not None) == counts
