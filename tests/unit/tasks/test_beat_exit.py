"""The exit of a beat: in bounded time, and not in the middle of a publish."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from types import SimpleNamespace
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


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The codes with which the process would have exited."""
    exits: list[int] = []
    monkeypatch.setattr(beat_exit.os, "_exit", exits.append)
    monkeypatch.setattr(beat_exit, "EXIT_WITHIN", 0.0)
    return exits


@pytest.fixture
def handled() -> list[int]:
    """The signals that Celery's handler got, which is installed."""
    handled: list[int] = []

    def handle(number: int, _frame: Any) -> None:
        handled.append(number)

    handle.__module__ = Beat.__module__
    for number in SIGNALS:
        signal.signal(number, handle)
    exit_in_time()
    return handled


def beat(monkeypatch: pytest.MonkeyPatch, start: Callable[[], None]) -> None:
    """Run ``start`` as the loop of beat."""
    monkeypatch.setattr(beat_exit, "Service", SimpleNamespace(start=start))
    start()


@pytest.mark.parametrize("number", SIGNALS, ids=["SIGTERM", "SIGINT"])
def test_beat_that_waits_handles_a_signal_at_once_and_exits_in_time(
    handled: list[int], exits: list[int], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def start() -> None:
        signal.raise_signal(number)
        assert handled == [number]

    beat(monkeypatch, start)
    wait_until(lambda: exits == [0], what="the exit")


def test_publish_is_finished_before_a_signal_is_handled(
    handled: list[int], exits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beat_exit, "PUBLISH_WITHIN", 30.0)

    def publish() -> None:
        signal.raise_signal(signal.SIGTERM)
        wait_until(lambda: exits == [0], what="the exit")
        assert handled == []

    def start() -> None:
        publish()
        while not handled:  # in this function, as beat waits
            pass

    beat(monkeypatch, start)
    assert handled == [signal.SIGTERM]
    assert exits == [0], "once, although the signal was sent again"


def test_publish_that_does_not_return_is_interrupted(
    handled: list[int], exits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beat_exit, "PUBLISH_WITHIN", 0.1)
    signal.raise_signal(signal.SIGTERM)
    wait_until(lambda: handled == [signal.SIGTERM], what="Celery's handler")
    wait_until(lambda: exits == [0], what="the exit")


def test_handlers_of_another_program_stay() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    exit_in_time()
    assert [signal.getsignal(number) for number in SIGNALS] == before
