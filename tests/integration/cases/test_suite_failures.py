"""What makes a suite fail besides its tests: a service that is down, a fake request that raises, silence."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery
from celery.signals import after_task_publish
from kombu.exceptions import OperationalError

from livecheck_celery import Case, LiveCheck, State, current_test
from livecheck_celery.context import synthetic_case_var
from livecheck_celery.delivery.publisher import CASE_KEYWORD
from livecheck_celery.store.schedule_runs import Window
from livecheck_celery.tasks import lifecycle
from livecheck_celery.tasks.handlers import Tasks
from livecheck_celery.tasks.lifecycle import Lifecycle
from tests.helpers.waiting import wait_until


class Service(BaseHTTPRequestHandler):
    status = 200
    seen: list[dict[str, str]]

    def do_GET(self) -> None:
        self.seen.append(dict(self.headers))
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b"hello")

    do_POST = do_GET  # noqa: N815 - the name is http.server's

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def service() -> Iterator[Any]:
    handler = type("Handler", (Service,), {"seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        handler.url = f"http://127.0.0.1:{server.server_port}/"
        yield handler
        server.shutdown()
        thread.join()


@pytest.fixture
def case(livecheck: LiveCheck) -> Any:
    @livecheck.case(name="shop.test_order", url_error_retries=1, url_error_delay_min=0.01, frequency=0.2)
    class test_order(Case): ...

    return test_order


def reports(case: Any) -> list[tuple[State, str | None]]:
    return [(report.state, report.error) for report in case.app.runtime.store.reports.latest([case.name], count=10)]


def test_the_body_of_a_page_comes_back(case: Any, service: Any) -> None:
    assert case.get_url(service.url) == b"hello"
    assert case.post_url(service.url, json={"side": "buy"}) == b"hello"
    assert case.status is State.INIT


def test_a_service_that_is_down_fails_the_suite_and_one_that_is_back_mends_it(case: Any, service: Any) -> None:
    service.status = 503
    assert case.get_url(service.url) is None
    assert len(service.seen) == 2
    assert case.status is State.FAIL
    [(state, error)] = reports(case)
    assert state is State.FAIL
    assert error == f"GET {service.url}: 503 Service Unavailable (2 attempts)"

    service.status = 200
    assert case.get_url(service.url) == b"hello"
    assert case.status is State.FAIL, "not before state_transition_delay has passed"
    case.state_transition_delay = 0.0
    assert case.get_url(service.url) == b"hello"
    assert case.status is State.PASS


def test_a_fake_request_carries_its_mark_signed(case: Any, service: Any) -> None:
    type(case).make_fake_request = lambda self: self.get_url(service.url)
    Tasks([case.app]).make_fake_request(**{CASE_KEYWORD: case.name})
    [headers] = service.seen
    assert headers["LiveCheck-Test-Synthetic"] == "1"
    assert headers["LiveCheck-Test-Name"] == "shop.test_order"
    assert headers["LiveCheck-Test-Signature"]


@pytest.mark.parametrize("probability", [0.0, 0.5])
def test_a_fake_request_is_tested_whatever_the_probability(case: Any, probability: float) -> None:
    case.probability = probability
    seen = []

    async def make_fake_request(self: Any) -> None:
        async with self.maybe_trigger() as test:
            seen.append((test, current_test(), synthetic_case_var.get()))

    type(case).make_fake_request = make_fake_request
    for _ in range(5):
        wait_until(lambda: Tasks([case.app]).make_fake_request(**{CASE_KEYWORD: case.name}) or seen, what="its slot")
        test, current, name = seen.pop()
        assert test is current
        assert test.synthetic
        assert name == case.name


def test_a_fake_request_that_raises_fails_the_suite(case: Any) -> None:
    def make_fake_request(self: Any) -> None:
        raise ValueError("no such market")

    type(case).make_fake_request = make_fake_request
    Tasks([case.app]).make_fake_request(**{CASE_KEYWORD: case.name})
    assert case.status is State.ERROR
    assert reports(case) == [(State.ERROR, "make_fake_request() raised ValueError: no such market")]


def test_fake_requests_keep_to_their_period_however_many_are_asked_for(case: Any) -> None:
    made = []
    type(case).make_fake_request = lambda self: made.append(1)
    case.frequency = 60.0
    for _ in range(20):
        Tasks([case.app]).make_fake_request(**{CASE_KEYWORD: case.name})
    assert len(made) == 1


def test_silence_fails_the_suite_once_in_each_period(case: Any) -> None:
    case.warn_stalled_after = 0.3
    tasks = Tasks([case.app])

    def check() -> int:
        tasks.check_stalled()
        return sum(state is State.STALL for state, _ in reports(case))

    assert check() == 0, "the time allowed begins with the first look"
    wait_until(lambda: check() == 1, what="the first warning")
    assert case.status is State.STALL
    assert case.last_fail is not None
    assert check() == 1, "not again within the same period"
    assert "no test received for 0." in str(reports(case)[0][1])
    assert "(limit 0.3 s)" in str(reports(case)[0][1])


def test_one_check_sees_to_every_case_of_every_livecheck(livecheck: LiveCheck, redis_url: str) -> None:
    other = LiveCheck(livecheck.app, prefix="livecheck-other")
    suites = [livecheck, other]
    cases = [
        suite.case(name=f"shop.test_{number}", warn_stalled_after=0.2)(type(f"test_{number}", (), {}))
        for suite in suites
        for number in range(3)
    ]
    calm = livecheck.case(name="calm", warn_stalled_after=60)(type("calm", (), {}))
    tasks = Tasks(suites)
    wait_until(lambda: tasks.check_stalled() or all(reports(case) for case in cases), what="a warning for each case")
    assert {state for case in cases for state, _ in reports(case)} == {State.STALL}
    assert reports(calm) == []
    other.close()


def test_nothing_is_done_for_a_case_that_is_not_active(case: Any) -> None:
    case.active = False
    case.warn_stalled_after = 0.0
    type(case).make_fake_request = lambda self: pytest.fail("it is not active")
    for _ in range(3):
        Tasks([case.app]).make_fake_request(**{CASE_KEYWORD: case.name})
        Tasks([case.app]).check_stalled()
    assert reports(case) == []
    assert case.status is State.INIT


def test_a_case_that_is_active_again_is_not_stalled_at_once(case: Any) -> None:
    case.warn_stalled_after, case.active = 0.5, False
    case.app.runtime.store.client.hset(case.app.runtime.store.keys.state(case.name), "received_at", 1)
    tasks = Tasks([case.app])
    tasks.check_stalled()
    case.active = True
    assert case.status is State.INIT
    tasks.check_stalled()
    assert reports(case) == []
    wait_until(lambda: case.status is State.STALL)


def test_a_fake_request_that_takes_long_keeps_its_slot(case: Any) -> None:
    made: list[int] = []
    case.app.runtime.leases.lease = 0.6
    begun, over = threading.Event(), threading.Event()

    def make_fake_request(self: Any) -> None:
        made.append(1)
        begun.set()
        over.wait(10)

    type(case).make_fake_request = make_fake_request
    tasks = Tasks([case.app])
    asked = {CASE_KEYWORD: case.name}
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(tasks.make_fake_request, **asked)
        assert begun.wait(10)
        start = case.app.runtime.store.time()
        while case.app.runtime.store.time() < start + 1.5:  # more than two leases, and seven periods
            tasks.make_fake_request(**asked)
            tasks.recover()
        assert made == [1]
        assert case.app.runtime.store.client.llen("livecheck.schedule") == 0
        over.set()
        running.result(10)
    wait_until(lambda: tasks.make_fake_request(**asked) or len(made) == 2, what="the next run")


def test_the_fake_request_of_a_dead_worker_is_asked_for_by_the_sweep(
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


def test_a_worker_that_is_told_to_go_in_a_fake_request_leaves_it_to_another(case: Any) -> None:
    case.frequency, case.app.runtime.leases.lease = 60.0, 0.2

    def exit_once(self: Any) -> None:
        type(self).make_fake_request = lambda self: made.append(1)
        raise SystemExit

    made: list[int] = []
    type(case).make_fake_request = exit_once
    tasks = Tasks([case.app])
    asked = {CASE_KEYWORD: case.name}
    with pytest.raises(SystemExit):
        tasks.make_fake_request(**asked)
    wait_until(lambda: tasks.make_fake_request(**asked) or made, what="another attempt")
    tasks.make_fake_request(**asked)
    assert made == [1]


def test_a_fake_request_that_another_made_meanwhile_is_told(case: Any, caplog: pytest.LogCaptureFixture) -> None:
    def make_fake_request(self: Any) -> None:  # the worker froze, and its slot was claimed, as seen here
        self.app.runtime.store.client.hset(self.app.runtime.store.keys.state(self.name), "run", "another's")

    type(case).make_fake_request = make_fake_request
    Tasks([case.app]).make_fake_request(**{CASE_KEYWORD: case.name})
    assert "outlasted its lease; another worker made it, too" in caplog.text


def test_a_message_for_a_case_nobody_declared_is_reported_and_over(case: Any) -> None:
    assert Tasks([case.app]).execute("o-1", **{CASE_KEYWORD: "shop.test_gone"}) == "ERROR"
    [report] = case.app.runtime.store.reports.latest(None, count=10)
    assert (report.case_name, report.state) == ("shop.test_gone", State.ERROR)
    assert report.error == "unknown case 'shop.test_gone'; add its module to this worker's imports or livecheck_cases"


@pytest.mark.parametrize("carried", ["nonsense", {"id": "o-1"}, 3])
def test_a_message_that_carries_no_execution_is_reported_and_over(case: Any, carried: Any) -> None:
    asked = {CASE_KEYWORD: case.name, "livecheck_test": carried}
    assert Tasks([case.app]).execute(**asked) == "ERROR"
    [(state, error)] = reports(case)
    assert state is State.ERROR
    assert str(error).startswith("a message for case shop.test_order has no valid execution: ")


@pytest.fixture(autouse=True)
def nobody_else_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """No beat of an earlier test notes what this one sends."""
    monkeypatch.setattr(after_task_publish, "receivers", [])


class Beat:
    """As the signals of Celery's beat show it."""

    def __init__(self, app: Celery, schedule: dict[str, Any] | None = None) -> None:
        self.app = app
        self.scheduler = SimpleNamespace(schedule=schedule or {})


@pytest.mark.parametrize("task", ["livecheck.recover", "livecheck.stalled"])
def test_a_beat_is_alive_once_the_broker_took_what_it_sends(livecheck: LiveCheck, task: str) -> None:
    ours = Lifecycle(livecheck.app, [livecheck])
    ours.start_beat(sender=Beat(Celery("another", set_as_current=False)))
    livecheck.app.send_task(task, queue="livecheck.schedule")
    assert livecheck.runtime.store.liveness.read() == (None, None)
    ours.start_beat(sender=Beat(livecheck.app))
    assert livecheck.runtime.store.liveness.read() == (None, None), "it may be waiting for another beat to end"
    livecheck.app.send_task("shop.other", queue="livecheck.schedule")
    assert livecheck.runtime.store.liveness.read() == (None, None)
    livecheck.app.send_task(task, queue="livecheck.schedule")
    assert livecheck.runtime.store.liveness.read() == (pytest.approx(0, abs=5), None)


def test_a_beat_that_cannot_send_is_not_alive(redis_url: str) -> None:
    app = Celery("shop", broker="redis://127.0.0.1:1/0", set_as_current=False)
    livecheck = LiveCheck(app, redis_url=redis_url)
    Lifecycle(app, [livecheck]).start_beat(sender=Beat(app))
    with pytest.raises(OperationalError):
        app.send_task("livecheck.recover", queue="livecheck.schedule", retry=False)
    assert livecheck.runtime.store.liveness.read() == (None, None)
    livecheck.close()


def test_a_case_is_watched_from_the_first_start_of_a_worker_without_any_beat(case: Any) -> None:
    case.warn_stalled_after = 0.3
    assert case.status is State.INIT
    for _ in range(2):
        lifecycle._start(case.app)
    wait_until(lambda: case.status is State.STALL, what="a stall that nobody checked")
    assert reports(case) == []


def test_workers_show_that_they_execute_schedules(livecheck: LiveCheck) -> None:
    for task in (Tasks([livecheck]).recover, Tasks([livecheck]).check_stalled):
        task()
        assert livecheck.runtime.store.liveness.read() == (None, pytest.approx(0, abs=5))
        livecheck.runtime.store.client.delete(livecheck.runtime.store.keys.schedules)


def test_what_is_kept_of_a_case_that_is_gone_is_deleted(case: Any) -> None:
    """From django-celery-beat's database, whose entries have a model."""
    deleted: list[str] = []

    def kept(name: str, queue: str = "livecheck.schedule") -> Any:
        model = SimpleNamespace(delete=lambda: deleted.append(name))
        return SimpleNamespace(options={"queue": queue}, model=model)

    names = ["livecheck:gone:frequency", "livecheck:gone:stalled", "livecheck:recover", "hosts:own"]
    schedule = {name: kept(name) for name in names}
    schedule["livecheck:elsewhere:frequency"] = kept("livecheck:elsewhere:frequency", "another.schedule")
    schedule["livecheck:forgotten:frequency"] = SimpleNamespace(options={"queue": "livecheck.schedule"})
    schedule[f"livecheck:{case.name}:frequency"] = kept("the case that is there")
    case.app.schedule_all()
    Lifecycle(case.app.app, [case.app]).start_beat(sender=Beat(case.app.app, schedule))
    assert deleted == ["livecheck:gone:frequency", "livecheck:gone:stalled"]
