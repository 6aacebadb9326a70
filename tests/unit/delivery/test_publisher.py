"""The publisher, without a broker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from livecheck_celery import BrokerUnavailable
from livecheck_celery.delivery.publisher import Publisher
from tests.helpers.factories import make_test


@pytest.fixture
def publisher() -> Any:
    app = Celery("shop", broker="memory://", set_as_current=False)
    return Publisher(app, "memory://", "livecheck", timeout=0.1)


def test_caller_does_not_wait_longer_than_the_timeout_for_another_thread(publisher: Any) -> None:
    with (
        publisher._lock,
        pytest.raises(BrokerUnavailable, match=r"the broker is slow: no message sent .* within 0\.1 s"),
    ):
        publisher.execute(make_test())
    publisher.execute(make_test())


def test_message_describes_the_test_without_its_arguments(publisher: Any) -> None:
    message = publisher._message("task-1", make_test("o-1", test_args=["a secret"]))
    assert (message.headers["argsrepr"], message.headers["kwargsrepr"]) == ("()", "shop.test_order:o-1")


@pytest.mark.parametrize(("seconds", "attempts"), [(0.0, 2), (0.3, 1)], ids=["at once", "slowly"])
def test_send_is_repeated_only_if_the_open_connection_failed_at_once(
    publisher: Any, monkeypatch: pytest.MonkeyPatch, seconds: float, attempts: int
) -> None:
    tried: list[float] = []
    now = [0.0]

    def fail(producer: Any) -> None:
        tried.append(now[0])
        now[0] += seconds
        raise OSError("closed")

    monkeypatch.setattr("livecheck_celery.delivery.publisher.time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(publisher, "_timeout", 0.4)
    monkeypatch.setattr(publisher, "_connected", lambda: None)
    monkeypatch.setattr(publisher, "_producer", object())
    with pytest.raises(BrokerUnavailable, match="closed"):
        publisher._send("a test", fail)
    assert len(tried) == attempts
