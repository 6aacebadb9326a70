"""Programs for the acceptance tests; their output is shown when a test fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.helpers import programs as processes
from tests.helpers.livecheck_client import Client
from tests.helpers.livecheck_threads import forget_livechecks
from tests.helpers.programs import Programs
from tests.helpers.redis_keys import unbounded_keys


@pytest.fixture(autouse=True)
def every_livecheck_is_closed() -> None:
    """Keep open the LiveChecks that the tests of a file share; detach them from tasks of this process."""
    forget_livechecks()


@pytest.fixture
def programs(redis_url: str, tmp_path: Path) -> Iterator[Programs]:
    """Start programs of one test, with the emptied server."""
    programs = Programs(tmp_path, redis_url)
    yield programs
    programs.end()


@pytest.fixture(scope="module")
def shared_programs(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """Start programs that all tests of a file share; the server is emptied before the first test.

    Do not use together with ``programs``, which empties the server before each test.
    """
    with redis.Redis.from_url(valkey_url, decode_responses=True) as server:
        server.flushall()
        programs = Programs(tmp_path_factory.mktemp("root"), valkey_url)
        yield programs
        programs.end()
        left = unbounded_keys(server, "livecheck")
    assert not left, f"keys without bound or TTL: {left}"


@pytest.fixture
def client(valkey_url: str) -> Iterator[Client]:
    """A client that triggers tests and sends signals."""
    client = Client(valkey_url)
    yield client
    client.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
    report: pytest.TestReport = yield
    if report.failed:
        report.sections += [("Output of a program", program.tail()) for program in processes.running]
    return report
