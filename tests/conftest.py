"""Fixtures of all tests: a real server, settings that point to it, and a store on it."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator

import pluggy
import pytest
import redis

from livecheck_celery import blocks
from livecheck_celery.config import Settings
from livecheck_celery.propagation.celery import TaskWork
from livecheck_celery.store import Store
from livecheck_celery.utils.throttle import Throttle, ThrottledLogger
from tests.helpers.factories import make_settings
from tests.helpers.livecheck_threads import close_livechecks, forget_livechecks, remaining_threads
from tests.helpers.programs import require_program
from tests.helpers.rabbitmq import RabbitMQ, rabbitmq, rabbitmq_program
from tests.helpers.redis_keys import unbounded_keys
from tests.helpers.valkey import embedded

#: Files that take longest, the longest first: each is run by one worker, so that one that begins late is waited for.
LONGEST = [
    "tests/integration/store/test_execution_model.py",
    "tests/integration/store/test_bad_records.py",
    "tests/integration/delivery/test_requests_during_outages.py",
    "tests/integration/test_secrets_stay.py",
    "tests/acceptance/test_celery_hops.py",
    "tests/acceptance/test_brokers.py",
    "tests/acceptance/test_servers.py",
    "tests/acceptance/test_chaos.py",
    "tests/acceptance/test_examples.py",
    "tests/acceptance/test_hostile_messages.py",
    "tests/acceptance/test_redis_users.py",
    "tests/acceptance/test_redis_writers.py",
    "tests/acceptance/test_stopping.py",
    "tests/acceptance/test_recovery.py",
]


def pytest_configure() -> None:
    """Let programs that tests start be interrupted: of a command in the background, a shell has SIGINT ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files; the others stay in their order."""
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.nodeid.partition("::")[0], len(ranks)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report a failure whatever CPython and Celery do.

    The captured output, which pytest-xdist sends, can have half a surrogate pair in it, which Celery logs. And Python
    3.11 cannot parse sources in two threads at a time when the garbage collector has a callback, such as Hypothesis's:
    pytest parses those of a traceback, and so does a thread of LiveCheck that logs one.
    """
    try:
        report = yield
    except (SystemError, pluggy.PluggyTeardownRaisedWarning):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(item.config.option, "tbstyle", "native")
            report = pytest.TestReport.from_item_and_call(item, call)
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """The URL of a real server for the whole run; tests that write use ``redis_url``."""
    with embedded() as server:
        yield f"{server.connection_url}/0"


@pytest.fixture(scope="session")
def rabbitmq_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A RabbitMQ server for the whole run."""
    program = require_program(rabbitmq_program(), "rabbitmq-server")
    with rabbitmq(program, tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@pytest.fixture
def redis_url(valkey_url: str) -> str:
    """The URL of the server, emptied."""
    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
        client.script_flush()
    return valkey_url


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of the emptied server, to read what the store has written."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def settings(redis_url: str) -> Settings:
    """Settings whose state and broker are on the emptied server."""
    return make_settings(redis_url)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    """A store on the emptied server, with its own connections."""
    store = Store(settings)
    yield store
    store.client.close()


@pytest.fixture(autouse=True)
def every_livecheck_is_closed() -> Iterator[None]:
    """Close each LiveCheck that the test leaves open; fail the test when a thread of one does not end."""
    forget_livechecks()
    yield
    close_livechecks()
    remaining = remaining_threads()
    assert not remaining, f"threads that outlive the test: {remaining}"


@pytest.fixture(autouse=True)
def no_log_line_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget which lines the earlier tests have logged."""
    monkeypatch.setattr(ThrottledLogger, "lines", Throttle())


@pytest.fixture(autouse=True)
def nothing_stays_in_force() -> Iterator[None]:
    """Fail a test that leaves a test or a fake request in force, so that the next one is not part of it."""
    yield
    # Not the work of a task that is part of nothing: it stays until the next task.
    opened = [block for block in blocks._open.get() if not (isinstance(block, TaskWork) and block.is_empty)]
    left = [(block.tests, block.mark) for block in opened if not block.ended]
    blocks._open.set(())
    assert not left, f"blocks that the test has not left: {left}"


@pytest.fixture(autouse=True)
def every_key_is_bounded(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a key of LiveCheck with neither a bound nor a TTL."""
    if not {"redis_url", "redis_client"} & set(request.fixturenames):
        yield
        return
    client: redis.Redis = request.getfixturevalue("redis_client")
    yield
    left = unbounded_keys(client, "livecheck")
    assert not left, f"keys without bound or TTL: {left}"
