"""Settings changed at run time reach every process, and no request asks for them."""

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
    """The case, as another process has it."""
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
def test_an_override_reaches_other_processes_and_goes_again(here: Any, there: Any) -> None:
    assert not is_tested(there)
    here.override(probability=1.0)
    assert is_tested(here), "at once where it was made"
    wait_until(lambda: is_tested(there), WITHIN, "the override is there")
    assert there.probability == 1.0
    here.override(probability=1.0, active=False)
    wait_until(lambda: not is_tested(there), WITHIN, "and the next")
    here.override()
    wait_until(lambda: there.active, WITHIN, "taken back")
    assert (there.probability, here.probability) == (0.0, 0.0)


def test_an_override_that_was_made_before_is_known_to_a_new_process(here: Any, redis_url: str) -> None:
    here.override(active=False)
    with process(redis_url, probability=1.0) as case:
        wait_until(lambda: not is_tested(case), WITHIN, "the override is there")


def test_a_process_comes_back_to_what_it_had(here: Any, there: Any) -> None:
    there.probability = 0.25
    here.override(probability=1.0)
    wait_until(lambda: is_tested(there), WITHIN)
    assert there.describe()["probability"] == 0.25, "what is declared is told as declared"
    here.override()
    wait_until(lambda: there.probability == 0.25, WITHIN)


@pytest.mark.promise("No request reads an override from Redis.", theme="cases")
def test_no_request_asks(here: Any, there: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_by: list[threading.Thread] = []
    wired = there.app.runtime.request_store.registry.snapshot

    def noted(*args: Any) -> Any:
        asked_by.append(threading.current_thread())
        return wired(*args)

    monkeypatch.setattr(there.app.runtime.request_store.registry, "snapshot", noted)
    is_tested(there)
    wait_until(lambda: asked_by, WITHIN)
    for _ in range(1000):
        is_tested(there)
    assert threading.current_thread() not in asked_by


def test_a_wrong_value_is_refused_and_in_redis_ignored(here: Any, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigurationError, match="case c: probability: .*less than or equal to 1"):
        here.override(probability=1.5)
    here.apply_overrides({"probability": "often"})
    assert here.probability == 0.0
    assert "case c: ignoring invalid overrides in Redis: probability" in caplog.text
