"""The inbox, on subscriptions that receive no message."""

from __future__ import annotations

import threading
from typing import Any, Self

import pytest

from livecheck_celery.errors import RedisUnavailable
from livecheck_celery.execution import inbox as inbox_module
from livecheck_celery.execution.inbox import BACKSTOP, BACKSTOP_AT_MOST, Inbox, Interrupted, _Backstop
from livecheck_celery.store import Store
from livecheck_celery.utils.interruption import Interruption
from tests.helpers.factories import CASE
from tests.helpers.waiting import wait_until


class Subscription:
    """Answers pings if ``answers``; receives nothing else."""

    def __init__(self, *, answers: bool) -> None:
        self.answers = answers
        self.pings = 0
        self._messages: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def subscribe(self, channel: str) -> None:
        self._messages.append({"type": "subscribe"})

    def ping(self) -> None:
        self.pings += 1
        if self.answers:
            self._messages.append({"type": "pong"})

    def get_message(self, timeout: float) -> dict[str, Any] | None:
        if self._messages:
            return self._messages.pop()
        threading.Event().wait(0.01)
        return None


@pytest.mark.parametrize("answers", [True, False])
def test_subscription_is_replaced_unless_the_server_answers_pings(
    store: Store, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    monkeypatch.setattr(inbox_module, "BACKSTOP", 0.05)
    made: list[Subscription] = []

    def subscribe() -> Subscription:
        made.append(Subscription(answers=answers))
        return made[-1]

    monkeypatch.setattr(store.client, "pubsub", subscribe)
    inbox = Inbox(store, Interruption())
    mailbox = inbox.open(CASE, "id-1")
    if answers:
        wait_until(lambda: made[0].pings > 5)
        assert len(made) == 1
    else:
        wait_until(lambda: len(made) > 3)
        assert all(each.pings == 1 for each in made[:3])
    inbox.close(mailbox)
    inbox.stop()
    inbox.join(5)


def test_delay_before_reconnecting_doubles_up_to_a_limit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    delays: list[float] = []
    inbox = Inbox(store, Interruption())

    def pause(seconds: float) -> None:
        delays.append(seconds)
        if len(delays) == 9:
            inbox.stop()

    def refuse(address: str) -> None:
        raise RedisUnavailable("refused")

    monkeypatch.setattr(inbox, "_pause", pause)
    monkeypatch.setattr(store.signals, "subscription", refuse)
    inbox._run()
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]


def test_mailbox_of_a_process_that_stops_meanwhile_is_refused_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "BACKSTOP", 3600.0)
    interruption = Interruption()
    inbox = Inbox(store, interruption)
    monkeypatch.setattr(inbox, "_receive", lambda _: interruption.end_here(60.0))
    with pytest.raises(Interrupted):
        inbox.open(CASE, "id-1")


def test_periodic_read_reads_a_signal_at_doubling_intervals() -> None:
    backstop = _Backstop(100.0)
    reads = [waited for waited in range(2, 62, 2) if backstop.is_due(100.0 + waited)]
    assert reads == [2, 4, 8, 16, 26, 36, 46, 56]
    assert BACKSTOP_AT_MOST == 10.0


def test_periodic_read_leaves_out_a_signal_that_is_awaited_since_a_moment() -> None:
    backstop = _Backstop(100.0)
    assert not backstop.is_due(100.0)
    assert not backstop.is_due(100.0 + BACKSTOP / 2 - 0.01)
    assert backstop.is_due(100.0 + BACKSTOP / 2)


def test_signal_that_is_awaited_since_a_moment_is_read_after_a_reconnect_and_before_a_timeout(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "BACKSTOP", 3600.0)
    subscription, read = Subscription(answers=True), threading.Semaphore(0)

    def awaited(wanted: Any) -> list[Any]:
        assert wanted == [(CASE, "id-1", ["sent"])]
        read.release()
        return []

    monkeypatch.setattr(store.client, "pubsub", lambda: subscription)
    monkeypatch.setattr(store.signals, "awaited", awaited)
    inbox = Inbox(store, Interruption())
    mailbox = inbox.open(CASE, "id-1")
    mailbox.expect("sent")
    inbox.read_awaited_soon().result(5)
    assert read.acquire(blocking=False)
    inbox.read_awaited_soon().result(5)  # the read of the first subscription is done, too
    while read.acquire(blocking=False):
        pass
    subscription._messages.append({"type": "subscribe"})
    assert read.acquire(timeout=5)
    inbox.close(mailbox)
    inbox.stop()
    inbox.join(5)
