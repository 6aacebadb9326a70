"""The order systems of ``examples/``: an order takes two HTTP hops and three Celery hops, each to another process."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
import redis
import requests

from livecheck_celery import Case, State, TestReport
from livecheck_celery.cli.processes import free_port
from tests.helpers.livecheck_client import Client, reports_of
from tests.helpers.programs import REPOSITORY, Program, Programs
from tests.helpers.redis_keys import unbounded_keys
from tests.helpers.waiting import wait_until

SIGNALS = ("stock_reserved", "order_created", "order_stored", "order_indexed", "order_executed")


class Example(NamedTuple):
    """How an order system is started, and the verdict on an order for a unicorn."""

    web: str
    worker: str
    verdict: State
    error: str
    prepare: str = ""
    signals: tuple[str, ...] = SIGNALS
    first_process: tuple[str, ...] = ("order/init/apple/3/", "stock/reserve/")
    second_process: tuple[str, ...] = ("order/create/",)


EXAMPLES = {
    "flask_orders": Example(
        "gunicorn flask_orders.web:app -b 127.0.0.1:{port} --threads 4 --access-logfile -",
        "celery -A flask_orders.tasks worker -c 2",
        State.TIMEOUT,
        "signal order_executed (5 of 5) did not arrive within 3 s; arrived so far: ",
    ),
    "fastapi_orders": Example(
        "uvicorn fastapi_orders.web:app --port {port}",
        "celery -A fastapi_orders.tasks worker -P threads -c 2",
        State.TIMEOUT,
        "signal stock_reserved (1 of 5) did not arrive within 3 s; no signal has arrived",
    ),
    "django_orders": Example(
        "gunicorn django_orders.wsgi -b 127.0.0.1:{port} --threads 4 --access-logfile -",
        "celery -A django_orders worker -P threads -c 2",
        State.TIMEOUT,
        "signal order_stored (3 of 5) did not arrive within 3 s; arrived so far: ",
        prepare="python -m django migrate --run-syncdb --settings django_orders.settings",
    ),
    "untouched_orders": Example(
        "gunicorn untouched_orders.web:app -b 127.0.0.1:{port} --threads 4 --access-logfile -",
        "celery -A untouched_orders.tasks worker -P threads -c 2",
        State.FAIL,
        "task untouched_orders.tasks.execute_order raised KeyError: 'unicorn'",
        signals=("order_taken", *SIGNALS[1:]),
        first_process=("order/init/apple/3/",),
    ),
}


class System:
    """A running example: two processes of its web app that call each other, its worker, and a LiveCheck worker."""

    def __init__(self, name: str, programs: Programs) -> None:
        self.name = name
        self.example = EXAMPLES[name]
        self._programs = programs
        self._urls = [f"http://127.0.0.1:{free_port()}" for _ in range(2)]
        self._env = {
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "examples"), str(REPOSITORY)]),
            "LIVECHECK_SECRET_KEY": "only for this test and therefore long",
            "LIVECHECK_CASES": f"{name}.checks",
            "ORDERS_REDIS_URL": f"{programs.url.removesuffix('/0')}/1",
        }
        if self.example.prepare:
            assert self._start(self.example.prepare).wait_exit() == 0
        # First, so that the services find its automatic signals when they start.
        self._checker = self._start_checker("apple")
        self._webs = [
            self._start(self.example.web.format(port=here.rpartition(":")[2]), ORDERS_URL=other)
            for here, other in (self._urls, self._urls[::-1])
        ]
        self._worker = self._start(f"{self.example.worker} -l INFO --without-mingle")
        for url in self._urls:
            wait_until(lambda url=url: _answers(url), 20, f"an answer from {url}")
        self._worker.wait_for(" ready.")
        if self.fakes_requests:
            self._start("celery -A livecheck_celery beat")

    @property
    def fakes_requests(self) -> bool:
        """Whether only the case's fake requests are tested."""
        return self.name == "untouched_orders"

    def order(self, item: str) -> None:
        """Place an order for ``item``, or have the case place it."""
        if not self.fakes_requests:
            requests.post(f"{self._urls[0]}/order/init/{item}/3/", timeout=20)
        elif item != "apple":
            self._checker.end()
            self._checker = self._start_checker(item)

    def hops(self) -> list[set[str]]:
        """Return what each process logged: requests of the two web processes, and tasks of the worker."""
        paths = [set(re.findall(r"POST /(\S+) HTTP", web.output())) for web in self._webs]
        return [*paths, set(re.findall(rf"Task {self.name}\.tasks\.(\w+)\[\S+\] received", self._worker.output()))]

    def _start_checker(self, item: str) -> Program:
        command = "celery -A livecheck_celery worker -l INFO --without-mingle"
        checker = self._start(command, ORDERS_URL=self._urls[0], ORDERS_ITEM=item)
        checker.wait_for(" ready.")
        return checker

    def _start(self, command: str, **env: str) -> Program:
        return self._programs.start(command, **self._env, **env)


def _answers(url: str) -> bool:
    try:
        return bool(requests.get(url, timeout=20).status_code)
    except requests.ConnectionError:
        return False


@pytest.fixture(scope="module", params=EXAMPLES)
def system(
    request: pytest.FixtureRequest, valkey_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    with redis.Redis.from_url(valkey_url, decode_responses=True) as server:
        server.flushall()
        programs = Programs(tmp_path_factory.mktemp(request.param), valkey_url)
        try:
            yield System(request.param, programs)
        finally:
            programs.end()
        left = unbounded_keys(server, "livecheck")
    assert not left, f"keys without bound or TTL: {left}"


@pytest.fixture
def case(system: System, client: Client) -> Case:
    return client.case(f"{system.name}.checks.test_order", *system.example.signals)


def first_report(case: Case, item: str) -> TestReport:
    """Wait for the report on the first test of an order for ``item``."""

    def found() -> list[TestReport]:
        return [report for report in reports_of(case) if report.test and report.test.test_kwargs["item"] == item]

    return wait_until(found, 20, f"a verdict on an order for an {item}")[0]


@pytest.mark.promise(
    "A test follows an order over two HTTP hops and three Celery hops, on Flask, FastAPI and Django.",
    theme="propagation",
)
def test_order_is_followed_over_two_http_hops_and_three_celery_hops(system: System, case: Case) -> None:
    system.order("apple")
    report = first_report(case, "apple")
    assert (report.state, report.error) == (State.PASS, None)
    assert report.signal_since_trigger.keys() == set(system.example.signals)
    expected = [
        set(system.example.first_process),
        set(system.example.second_process),
        {"store_order", "index_order", "execute_order"},
    ]
    wait_until(lambda: system.hops() == expected, what=f"each hop in its process: {system.hops()}")


@pytest.mark.promise("When a hop breaks, the verdict names it.", theme="propagation")
def test_verdict_names_the_broken_hop(system: System, case: Case) -> None:
    system.order("unicorn")
    report = first_report(case, "unicorn")
    assert report.state is system.example.verdict, report.error
    assert report.error.startswith(system.example.error), report.error
