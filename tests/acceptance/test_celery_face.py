"""Workers and beats find their configuration however users start them."""

from __future__ import annotations

from pathlib import Path

import pytest

from livecheck_celery import State
from livecheck_celery.store import Store
from tests.helpers.factories import make_settings
from tests.helpers.livecheck_client import Client, report_of, reports_of
from tests.helpers.programs import Programs, copy_config
from tests.helpers.redis_keys import unbounded_keys
from tests.helpers.waiting import wait_until


@pytest.mark.promise("`celery -A livecheck_celery` and bare `celery` run the tests.", theme="tools")
@pytest.mark.parametrize("prefix", ["celery -A livecheck_celery", "celery"], ids=["named", "bare"])
def test_worker_and_beat_run_with_the_shipped_configuration(programs: Programs, client: Client, prefix: str) -> None:
    beat = programs.start(f"{prefix} beat", LIVECHECK_CASES="checks")
    worker = programs.start(f"{prefix} worker", LIVECHECK_CASES="checks")

    client.run_together([client.case("checks.test_plain", "go")] * 30)
    assert {queue["name"] for queue in client.inspect("active_queues")} == {"livecheck", "livecheck.schedule"}
    pool = client.inspect("stats")["pool"]
    assert (pool["implementation"], pool["max-concurrency"]) == ("celery.concurrency.thread:TaskPool", 100)

    faked = client.case("checks.test_faked", "asked")
    wait_until(lambda: faked.total_by_state[State.PASS] >= 2, what="two fake requests")
    assert set(faked.total_by_state) == {State.PASS}
    assert all(report.test.synthetic for report in reports_of(faked))

    for program in (worker, beat):
        program.terminate()
        assert program.wait_exit() == 0


@pytest.mark.parametrize("prefix", ["celery -A livecheck_celery", "celery"], ids=["named", "bare"])
def test_copied_celeryconfig_can_name_cases_in_imports(
    programs: Programs, client: Client, tmp_path: Path, prefix: str
) -> None:
    copy_config(tmp_path / "service", imports=("livecheck_celery.worker", "checks"))
    programs.start(f"{prefix} worker", cwd=tmp_path / "service")
    client.run_together([client.case("checks.test_plain", "go")])


def test_test_concurrency_sets_the_number_of_slots(programs: Programs, client: Client) -> None:
    programs.start("celery -A livecheck_celery worker", LIVECHECK_TEST_CONCURRENCY="7")
    assert client.inspect("stats")["pool"]["max-concurrency"] == 7


@pytest.mark.promise("Ordinary workers of a host's app never run tests.", theme="tools")
def test_ordinary_workers_of_a_hosts_app_never_run_tests(programs: Programs, client: Client) -> None:
    programs.start_worker("celery -A shop worker")
    case = client.case("shop.test_side")
    tests = [case.trigger(None, "sell") for _ in range(3)]
    assert client.app.send_task("shop.number", ["x"]).get(timeout=20) == "x"
    assert [queue["name"] for queue in client.inspect("active_queues")] == ["celery"]
    assert client.store.client.llen("livecheck") == 3
    assert reports_of(case) == []

    programs.start_worker("celery -A shop worker -Q livecheck,livecheck.schedule -P threads -c 20")
    assert {report_of(case, test.id).state for test in tests} == {State.PASS}


def test_settings_are_read_from_a_namespace(programs: Programs) -> None:
    programs.start("celery -A mysite worker -Q checks,checks.schedule -P threads -c 20")
    programs.start("celery -A mysite beat")
    store = Store(make_settings(programs.url, prefix="mysite"))
    wait_until(lambda: store.suites.statistics("mysite.checks.test_faked").total_by_state[State.PASS] >= 2, 20)
    assert unbounded_keys(store.client, "mysite") == []
    assert list(store.client.scan_iter("livecheck:*")) == []
