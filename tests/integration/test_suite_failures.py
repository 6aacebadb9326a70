"""What makes a suite fail besides its tests: a service that is down, a fake request that raises, silence."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from support import wait_until

from livecheck_celery import Case, LiveCheck, State, current_test
from livecheck_celery.context import synthetic_case_var
from livecheck_celery.lifecycle import Lifecycle
from livecheck_celery.publisher import CASE_KEYWORD
from livecheck_celery.tasks import Tasks


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
    return [(report.state, report.error) for report in case.app.store.reports([case.name], count=10)]


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
        tasks.check_stalled(**{CASE_KEYWORD: case.name})
        return sum(state is State.STALL for state, _ in reports(case))

    assert check() == 0, "the time allowed begins with the first look"
    wait_until(lambda: check() == 1, what="the first warning")
    assert case.status is State.STALL
    assert case.last_fail is not None
    assert check() == 1, "not again within the same period"
    assert "no test received for 0." in str(reports(case)[0][1])
    assert "(limit 0.3 s)" in str(reports(case)[0][1])


@pytest.mark.parametrize("asked", ["make_fake_request", "check_stalled"])
def test_nothing_is_done_for_a_case_that_is_not_active(case: Any, asked: str) -> None:
    case.active = False
    case.warn_stalled_after = 0.0
    type(case).make_fake_request = lambda self: pytest.fail("it is not active")
    for _ in range(3):
        getattr(Tasks([case.app]), asked)(**{CASE_KEYWORD: case.name})
    assert reports(case) == []


def test_a_message_for_a_case_nobody_declared_is_reported_and_over(case: Any) -> None:
    assert Tasks([case.app]).execute("o-1", **{CASE_KEYWORD: "shop.test_gone"}) == "ERROR"
    [report] = case.app.store.reports(None, count=10)
    assert (report.case_name, report.state) == ("shop.test_gone", State.ERROR)
    assert report.error == "no case 'shop.test_gone' is declared in this worker; name its module in imports or cases"


@pytest.mark.parametrize("carried", ["nonsense", {"id": "o-1"}, 3])
def test_a_message_that_carries_no_execution_is_reported_and_over(case: Any, carried: Any) -> None:
    asked = {CASE_KEYWORD: case.name, "livecheck_test": carried}
    assert Tasks([case.app]).execute(**asked) == "ERROR"
    [(state, error)] = reports(case)
    assert state is State.ERROR
    assert str(error).startswith("a message for case shop.test_order carries no execution: ")


def test_a_beat_is_seen_as_soon_as_it_starts(livecheck: LiveCheck) -> None:
    lifecycle = Lifecycle(livecheck.app, [livecheck])
    lifecycle.watch_beat(sender=SimpleNamespace(app=Celery("another", set_as_current=False)))
    assert livecheck.store.seconds_since_beat() is None
    lifecycle.watch_beat(sender=SimpleNamespace(app=livecheck.app))
    assert livecheck.store.seconds_since_beat() == pytest.approx(0, abs=5)
