"""Programs for the acceptance tests, and what they said when a test fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import programs as processes
import pytest
import redis
from clients import Client
from programs import Programs
from support import unbounded_keys


@pytest.fixture(scope="module")
def emptied(valkey_url: str) -> Iterator[str]:
    """The server, emptied for this file; fails the last test of one that leaves a key without bound or TTL."""
    with redis.Redis.from_url(valkey_url, decode_responses=True) as client:
        client.flushall()
        yield valkey_url
        left = unbounded_keys(client, "livecheck")
    assert not left, f"keys without bound or TTL: {left}"


@pytest.fixture(scope="module")
def shared_programs(emptied: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """Programs that all tests of a file share."""
    programs = Programs(tmp_path_factory.mktemp("root"), LIVECHECK_BROKER_URL=emptied, SHOP_URL=emptied)
    yield programs
    programs.end()


@pytest.fixture
def programs(emptied: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """Programs of one test."""
    programs = Programs(tmp_path_factory.mktemp("root"), LIVECHECK_BROKER_URL=emptied, SHOP_URL=emptied)
    yield programs
    programs.end()


@pytest.fixture
def client(emptied: str) -> Iterator[Client]:
    """Triggers tests and sends signals."""
    client = Client(emptied)
    yield client
    client.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
    report: pytest.TestReport = yield
    if report.failed:
        report.sections += [("Output of a program", program.tail()) for program in processes.running]
    return report
