"""The order system of ``examples/aio_orders``, started as its README says: two web services, two workers, and beat."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis
import requests

from livecheck_celery import Case, State, TestReport
from livecheck_celery.cli.processes import free_port
from tests.helpers.livecheck_client import Client, reports_of
from tests.helpers.programs import REPOSITORY, Program, Programs
from tests.helpers.redis_keys import unbounded_keys
from tests.helpers.waiting import wait_until

README = (REPOSITORY / "examples" / "aio_orders" / "README.md").read_text()
COMMANDS = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ ")
]
SIGNALS = ("order_saved", "order_queued", "order_cached", "order_executed")


class System:
    """The running example, on ports of its own."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self._ports = {"8000": str(free_port()), "8001": str(free_port())}
        self.database = programs.directory / "orders.sqlite3"
        self._env = {
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "examples"), str(REPOSITORY)]),
            "LIVECHECK_SECRET_KEY": "only for this test and therefore long",
            "ORDERS_REDIS_URL": programs.url,
            "ORDERS_DATABASE": str(self.database),
            "ORDERS_URL": f"http://127.0.0.1:{self._ports['8000']}",
            "ORDERS_DESK_URL": f"http://127.0.0.1:{self._ports['8001']}",
        }
        served = [command for command in COMMANDS if command.startswith(("uvicorn", "python"))]
        self.shop, self.desk = map(self.start, served)
        for port in self._ports.values():
            wait_until(lambda port=port: _answers(f"http://127.0.0.1:{port}"), 20, f"an answer on port {port}")
        workers = [command for command in COMMANDS if " worker " in command]
        self.worker, self.checker = [self.start(f"{command} --without-mingle") for command in workers]
        for program in (self.worker, self.checker):
            program.wait_for(" ready.")

    def start(self, command: str) -> Program:
        """Start a command of the README, with the ports of this system."""
        return self._programs.start(self._here(command), **self._env)

    def _here(self, text: str) -> str:
        for port, own in self._ports.items():
            text = re.sub(rf"\b{port}\b", own, text)
        return text

    def order(self, side: str) -> None:
        """Place an order, as a command of the README does."""
        [url] = re.findall(rf"^curl -X POST (\S+/{side}/)$", "\n".join(COMMANDS), re.MULTILINE)
        requests.post(self._here(url), timeout=20).raise_for_status()

    def printed(self, command: str) -> str:
        """Run a command of the README; return its output."""
        assert command in COMMANDS
        program = self.start(command)
        assert program.wait_exit() == 0, program.tail()
        return program.output()

    def charged(self, order_id: str) -> int | None:
        """Return what the order has cost, in cents."""
        with closing(sqlite3.connect(self.database)) as connection:
            [charged] = connection.execute("SELECT charged FROM orders WHERE id = ?", (order_id,)).fetchone()
        return charged


def _answers(url: str) -> bool:
    try:
        return bool(requests.get(url, timeout=20).status_code)
    except requests.ConnectionError:
        return False


@pytest.fixture(scope="module")
def system(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with redis.Redis.from_url(valkey_url, decode_responses=True) as server:
        server.flushall()
        programs = Programs(Path(tmp_path_factory.mktemp("aio_orders")), valkey_url)
        try:
            yield System(programs)
        finally:
            programs.end()
        left = unbounded_keys(server, "livecheck")
    assert not left, f"keys without bound or TTL: {left}"


@pytest.fixture
def case(system: System, client: Client) -> Case:
    return client.case("aio_orders.checks.test_order", *SIGNALS)


def report_on(case: Case, side: str, *, synthetic: bool = False) -> TestReport:
    """Wait for the report on the first test of an order for ``side``."""

    def found() -> list[TestReport]:
        tested = [(report, report.test) for report in reports_of(case) if report.test]
        return [report for report, test in tested if (test.test_kwargs, test.synthetic) == ({"side": side}, synthetic)]

    return wait_until(found, 30, f"a verdict on an order to {side}")[0]


@pytest.mark.promise(
    "A case with `async def` bodies follows an order through FastAPI, aiohttp and Celery.", theme="aio"
)
def test_order_passes_each_part_of_the_system(system: System, case: Case) -> None:
    system.order("sell")
    report = report_on(case, "sell")
    assert (report.state, report.error) == (State.PASS, None)
    assert report.test is not None
    assert set(report.signal_latency) == set(SIGNALS)
    assert "POST /orders/sell/" in system.shop.output()
    wait_until(lambda: '"POST /desk/ HTTP/1.1" 202' in system.desk.output(), what="the line of the request at the desk")
    assert set(re.findall(r"Task aio_orders\.tasks\.(\w+)\[\S+\] received", system.worker.output())) == {
        "save_order",
        "execute_order",
    }
    wait_until(lambda: system.charged(report.test.id) == 3 * 330, what="a charge")
    assert "PASS" in system.printed("livecheck -A aio_orders reports")
    assert "test_order" in system.printed("livecheck -A aio_orders status")


def test_order_that_is_not_executed_is_named_by_its_signal(system: System, case: Case) -> None:
    system.order("swap")
    report = report_on(case, "swap")
    [said] = re.findall(r"^TIMEOUT in \S+ s: (.*)$", README, re.MULTILINE)
    assert (report.state, report.error) == (State.TIMEOUT, said)


def test_fake_order_is_tested_and_not_charged(system: System, case: Case) -> None:
    system.start(next(command for command in COMMANDS if command.endswith(" beat")))
    report = report_on(case, "sell", synthetic=True)
    assert (report.state, report.error) == (State.PASS, None)
    assert report.test is not None
    assert system.charged(report.test.id) is None
