"""Fake requests: marked, always tested, and made once in each period."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import redis
from celery.exceptions import WorkerTerminate

from livecheck_celery import State, current_test
from livecheck_celery.delivery.publisher import CASE_KEYWORD
from livecheck_celery.propagation.headers import parse
from livecheck_celery.store.schedule_runs import Window
from livecheck_celery.tasks.handlers import Tasks
from tests.helpers.http_server import KEY, running
from tests.helpers.marks import synthetic_case
from tests.helpers.order_case import outcomes
from tests.helpers.signing import verify
from tests.helpers.waiting import wait_until


def test_fake_request_sends_its_mark_signed(case: Any) -> None:
    with running() as server:
        type(case).make_fake_request = lambda self: self.get_url(server.url())
        Tasks([case.app]).make_fake_request(**{CASE_KEYWORD: case.name})
    [request] = server.received
    mark = parse(verify(request.known_headers(), (KEY,)) or {}).mark
    assert mark is not None
    assert mark.case_name == "shop.test_order"
    assert mark.expires - mark.since == timedelta(seconds=case.app.settings.max_hop_age)


@pytest.mark.parametrize("probability", [0.0, 0.5])
def test_fake_request_is_tested_at_any_probability(case: Any, probability: float) -> None:
    case.probability = probability
    seen = []

    def make_fake_request(self: Any) -> None:
        with self.maybe_trigger() as test:
            seen.append((test, current_test(), synthetic_case()))

    type(case).make_fake_request = make_fake_request
    tasks = Tasks([case.app])
    for _ in range(5):
        wait_until(lambda: tasks.make_fake_request(**{CASE_KEYWORD: case.name}) or seen, what="the next run")
        test, current, name = seen.pop()
        assert test is current
        assert test.synthetic
        assert name == case.name


def test_fake_request_that_raises_fails_the_suite(case: Any) -> None:
    def make_fake_request(self: Any) -> None:
        raise ValueError("no such market")

    type(case).make_fake_request = make_fake_request
    Tasks([case.app]).make_fake_request(**{CASE_KEYWORD: case.name})
    assert case.status is State.ERROR
    [(state, error)] = outcomes(case)
    assert state is State.ERROR
    assert error.startswith("make_fake_request() raised ValueError: no such market (test_fake_requests.py:")


def test_fake_request_is_made_once_per_period(case: Any) -> None:
    made = []
    type(case).make_fake_request = lambda self: made.append(1)
    case.frequency = 60.0
    for _ in range(20):
        Tasks([case.app]).make_fake_request(**{CASE_KEYWORD: case.name})
    assert len(made) == 1


def test_long_fake_request_keeps_its_lease(case: Any) -> None:
    made: list[int] = []
    case.app.runtime.leases.lease = 0.6
    started, over = threading.Event(), threading.Event()

    def make_fake_request(self: Any) -> None:
        made.append(1)
        started.set()
        over.wait(10)

    type(case).make_fake_request = make_fake_request
    tasks = Tasks([case.app])
    message = {CASE_KEYWORD: case.name}
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(tasks.make_fake_request, **message)
        assert started.wait(10)
        start = case.app.runtime.store.time()
        while case.app.runtime.store.time() < start + 1.5:  # more than two leases, and seven periods
            tasks.make_fake_request(**message)
            tasks.recover()
        assert made == [1]
        assert case.app.runtime.store.client.llen("livecheck.schedule") == 0
        over.set()
        running.result(10)
    wait_until(lambda: tasks.make_fake_request(**message) or len(made) == 2, what="the next run")


def test_sweep_resends_the_fake_request_of_a_dead_worker(
    case: Any, redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    case.frequency, case.app.runtime.leases.lease = 60.0, 0.2
    made: list[int] = []
    type(case).make_fake_request = lambda self: made.append(1)
    assert case.app.runtime.store.schedule_runs.claim(case.name, Window(60, 30), token="dead", lease=0.2) == 1
    tasks = Tasks([case.app])
    wait_until(lambda: tasks.recover() or redis_client.llen("livecheck.schedule"), what="a message")
    assert redis_client.llen("livecheck.schedule") == 1
    message = json.loads(redis_client.lpop("livecheck.schedule"))
    assert message["headers"]["task"] == "livecheck.fake_request"
    assert message["headers"]["expires"]
    assert "shop.test_order: run not finished by its worker" in caplog.text
    for _ in range(3):
        tasks.make_fake_request(**{CASE_KEYWORD: case.name})
        tasks.recover()
    assert made == [1]
    assert redis_client.llen("livecheck.schedule") == 0


def test_fake_request_of_a_stopped_worker_is_made_by_another(case: Any) -> None:
    case.frequency, case.app.runtime.leases.lease = 60.0, 0.2

    def exit_once(self: Any) -> None:
        type(self).make_fake_request = lambda self: made.append(1)
        raise WorkerTerminate  # as Celery's signal handlers do

    made: list[int] = []
    type(case).make_fake_request = exit_once
    tasks = Tasks([case.app])
    message = {CASE_KEYWORD: case.name}
    with pytest.raises(WorkerTerminate):
        tasks.make_fake_request(**message)
    wait_until(lambda: tasks.make_fake_request(**message) or made, what="another attempt")
    tasks.make_fake_request(**message)
    assert made == [1]


def test_fake_request_that_outlasts_its_lease_is_logged(case: Any, caplog: pytest.LogCaptureFixture) -> None:
    def make_fake_request(self: Any) -> None:  # as if the worker had frozen, and another one had claimed the run
        self.app.runtime.store.client.hset(self.app.runtime.store.keys.suite(self.name), "run", "another's")

    type(case).make_fake_request = make_fake_request
    Tasks([case.app]).make_fake_request(**{CASE_KEYWORD: case.name})
    assert "outlasted its lease; another worker made it, too" in caplog.text
