"""One log line per key per minute."""

import pytest

from livecheck_celery.utils import throttle
from livecheck_celery.utils.throttle import Throttle


def test_each_key_is_allowed_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(throttle.time, "monotonic", lambda: now)
    allowed = Throttle()
    assert allowed("redis")
    assert not allowed("redis")
    assert allowed("broker")
    now = 59.9
    assert not allowed("redis")
    now = 60.0
    assert allowed("redis")
    assert not allowed("redis")


def test_instances_do_not_share_keys() -> None:
    assert Throttle()("redis")
    assert Throttle()("redis")
