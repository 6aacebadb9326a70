"""What makes a suite fail besides its tests: a service that is down, a fake request that raises, silence."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from livecheck_celery import Case, LiveCheck, State, SuiteFailed
from tests.helpers.order_case import declare, execute
from tests.helpers.plain_asserts import wrong_side


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


def test_url_methods_return_the_body(case: Any, service: Any) -> None:
    assert case.get_url(service.url) == b"hello"
    assert case.post_url(service.url, json={"side": "buy"}) == b"hello"
    assert case.status is State.INIT


def test_suite_fails_with_a_service_and_recovers_with_it(case: Any, service: Any) -> None:
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


def test_suite_fails_after_consecutive_failures_and_passes_restore_it(livecheck: LiveCheck) -> None:
    outcome = {"fails": True}

    def run(self: Case) -> None:
        assert not outcome["fails"], "broken"

    told: list[str] = []

    class Told(Case):
        def on_suite_fail(self, exc: SuiteFailed, new_state: State = State.FAIL) -> None:
            told.append(f"{new_state}: {exc}")

    case = declare(livecheck, run, base=Told, max_consecutive_failures=3)
    for number in range(4):
        execute(case, id=f"fails-{number}")
    assert told == [
        "FAIL: 3 tests failed in a row (limit 3)",
        "FAIL: 4 tests failed in a row (limit 3)",
    ]
    assert (case.consecutive_failures, case.total_failures) == (4, 4)
    assert case.last_fail is not None
    suite_reports = [report for report in reports(livecheck) if report.test is None]
    assert len(suite_reports) == 1, "reported once within state_transition_delay"

    outcome["fails"] = False
    execute(case, id="passes")
    assert case.consecutive_failures == 0
    assert case.total_failures == 4
    assert case.total_by_state == Counter(FAIL=4, PASS=1)
    assert case.status is State.FAIL, "a suite failure younger than state_transition_delay keeps the status"
    case.state_transition_delay = 0.0
    execute(case, id="passes later")
    assert case.status is State.PASS


def test_suite_failure_reported_by_hand_is_counted_once(livecheck: LiveCheck) -> None:
    case = declare(livecheck, wrong_side)
    error = SuiteFailed("the exchange is closed")
    case.on_suite_fail(error)
    assert case.status is State.FAIL
    failed_at = case.last_fail
    case.on_suite_fail(error)
    assert case.last_fail == failed_at
    assert [report.error for report in reports(livecheck)] == ["the exchange is closed"]
