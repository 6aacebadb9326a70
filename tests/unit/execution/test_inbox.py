"""Subscriptions on which nothing is received."""

from __future__ import annotations

import threading
from typing import Any, Self

import pytest

from livecheck_celery.execution import inbox
from livecheck_celery.execution.inbox import Inbox
from livecheck_celery.store import Store
from tests.helpers.factories import CASE
from tests.helpers.waiting import wait_until


class Subscription:
    """Is heard of only where it ``answers``; nothing is published."""

    def __init__(self, *, answers: bool) -> None:
        self.answers = answers
        self.pings = 0
        self._told: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def subscribe(self, channel: str) -> None:
        self._told.append({"type": "subscribe"})

    def ping(self) -> None:
        self.pings += 1
        if self.answers:
            self._told.append({"type": "pong"})

    def get_message(self, timeout: float) -> dict[str, Any] | None:
        if self._told:
            return self._told.pop()
        threading.Event().wait(0.01)
        return None


@pytest.mark.parametrize("answers", [True, False])
def test_it_is_made_anew_unless_the_server_gives_a_sign_of_life(
    store: Store, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    monkeypatch.setattr(inbox, "BACKSTOP", 0.05)
    made: list[Subscription] = []

    def subscribe() -> Subscription:
        made.append(Subscription(answers=answers))
        return made[-1]

    monkeypatch.setattr(store.client, "pubsub", subscribe)
    one = Inbox(store)
    mailbox = one.open(CASE, "id-1")
    if answers:
        wait_until(lambda: made[0].pings > 5)
        assert len(made) == 1
    else:
        wait_until(lambda: len(made) > 3)
        assert all(each.pings == 1 for each in made[:3])
    one.close(mailbox)
    one.stop()
    one.join(5)
