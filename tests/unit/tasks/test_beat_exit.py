"""The exit of a beat whose broker does not answer."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from celery.apps.beat import Beat

from livecheck_celery.tasks import beat_exit
from livecheck_celery.tasks.beat_exit import exit_in_time
from tests.helpers.waiting import wait_until

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Restore the handlers of this process."""
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS, ids=["SIGTERM", "SIGINT"])
def test_beat_exits_in_time_after_a_signal(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    handled: list[int] = []
    exits: list[int] = []

    def handle(number: int, _frame: Any) -> None:
        handled.append(number)

    handle.__module__ = Beat.__module__
    for each in SIGNALS:
        signal.signal(each, handle)
    monkeypatch.setattr(beat_exit, "EXIT_WITHIN", 0.0)
    monkeypatch.setattr(beat_exit.os, "_exit", exits.append)
    exit_in_time()
    signal.raise_signal(number)
    wait_until(lambda: exits == [0], what="the exit")
    assert handled == [number]


def test_handlers_of_another_program_stay() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    exit_in_time()
    assert [signal.getsignal(number) for number in SIGNALS] == before
