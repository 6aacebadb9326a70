"""Overrides reach every process, and no request reads them from Redis."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import Celery

from livecheck_celery import ConfigurationError, LiveCheck
from tests.helpers.waiting import wait_until

WITHIN = 5.0


@contextmanager
def process(url: str, **options: Any) -> Iterator[Any]:
    """The case in a LiveCheck of its own, as in another process."""
    livecheck = LiveCheck(Celery("shop", broker=url, set_as_current=False))
    livecheck.case(name="c", **options)(type("c", (), {}))
    yield livecheck.cases["c"]
    livecheck.close()


@pytest.fixture
def here(redis_url: str) -> Iterator[Any]:
    with process(redis_url, probability=0.0) as case:
        yield case


@pytest.fixture
def there(redis_url: str) -> Iterator[Any]:
    with process(redis_url, probability=0.0) as case:
        yield case


def is_tested(case: Any) -> bool:
    with case.maybe_trigger() as test:
        return test is not None


@pytest.mark.promise("An override reaches every process within 5 s.", theme="cases")
def test_override_reaches_other_processes_and_can_be_removed(here: Any, there: Any) -> None:
    assert not is_tested(there)
    here.override(probability=1.0)
    assert is_tested(here), "at once in its own process"
    wait_until(lambda: is_tested(there), WITHIN, "the override")
    assert there.probability == 1.0
    here.override(probability=1.0, active=False)
    wait_until(lambda: not is_tested(there), WITHIN, "the second override")
    here.override()
    wait_until(lambda: there.active, WITHIN, "its removal")
    assert (there.probability, here.probability) == (0.0, 0.0)


def test_new_process_has_an_earlier_override(here: Any, redis_url: str) -> None:
    here.override(active=False)
    with process(redis_url, probability=1.0) as case:
        wait_until(lambda: not is_tested(case), WITHIN, "the override")


def test_removed_override_restores_the_value_of_the_process(here: Any, there: Any) -> None:
    there.probability = 0.25
    here.override(probability=1.0)
    wait_until(lambda: is_tested(there), WITHIN)
    assert there.describe()["probability"] == 0.25, "describe() has the declared value"
    here.override()
    wait_until(lambda: there.probability == 0.25, WITHIN)


@pytest.mark.promise("No request reads an override from Redis.", theme="cases")
def test_requests_do_not_read_overrides_from_redis(here: Any, there: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    readers: list[threading.Thread] = []
    snapshot = there.app.runtime.request_store.registry.snapshot

    def note(*args: Any) -> Any:
        readers.append(threading.current_thread())
        return snapshot(*args)

    monkeypatch.setattr(there.app.runtime.request_store.registry, "snapshot", note)
    is_tested(there)
    wait_until(lambda: readers, WITHIN)
    for _ in range(1000):
        is_tested(there)
    assert threading.current_thread() not in readers


def test_invalid_override_is_refused_and_in_redis_ignored(here: Any, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigurationError, match="case c: probability: must be at most 1, not 1.5"):
        here.override(probability=1.5)
    here.apply_overrides({"probability": "often"})
    assert here.probability == 0.0
    assert "case c: ignoring invalid overrides in Redis: probability" in caplog.text
