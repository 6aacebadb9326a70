"""The publisher, without a broker."""

from __future__ import annotations

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
