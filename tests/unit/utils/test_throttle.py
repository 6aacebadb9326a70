"""One log line per key per minute."""

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from livecheck_celery.utils import throttle
from livecheck_celery.utils.throttle import Throttle, ThrottledLogger


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


def test_line_stands_for_those_that_were_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(throttle.time, "monotonic", lambda: now)
    allowed = Throttle()
    assert [allowed("redis") for _ in range(100)] == [1, *[0] * 99]
    now = 60.0
    assert allowed("redis") == 100
    assert allowed("redis") == 0
    assert allowed.left_out() == {"redis": 1}
    assert allowed.left_out() == {}


def test_threads_that_fail_at_once_log_one_line() -> None:
    allowed = Throttle()
    with ThreadPoolExecutor(50) as pool:
        assert sum(map(bool, pool.map(allowed, ["redis"] * 500))) == 1


def test_keys_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(throttle.time, "monotonic", lambda: now)
    allowed = Throttle()
    assert sum(map(bool, map(allowed, map(str, range(1_000))))) == throttle.MAX_KEYS + 1
    assert not allowed("0")
    now = 60.0
    assert allowed("1000"), "the earlier keys are forgotten"
    assert allowed("0") == 2


def test_throttled_logger_counts_lines_with_other_arguments(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    monkeypatch.setattr(throttle.time, "monotonic", lambda: now)
    throttled = ThrottledLogger(logging.getLogger("livecheck_celery.tests"))
    for number in range(100):
        throttled.warning("tasks: %s: refused", number)
    now = 60.0
    throttled.error("tasks: %s: refused", "last")
    throttled.error("tasks: %s: refused", "other", key="other")
    assert caplog.messages == [
        "tasks: 0: refused",
        "tasks: last: refused (and 99 more since the last such line)",
        "tasks: other: refused",
    ]
    assert {record.funcName for record in caplog.records} == {"test_throttled_logger_counts_lines_with_other_arguments"}
