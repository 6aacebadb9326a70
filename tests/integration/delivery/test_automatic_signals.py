"""Automatic signals, sent in a process that does not declare the case."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from django.db.models.signals import post_save

from livecheck_celery import LiveCheck, Signal
from livecheck_celery.blocks import Work
from livecheck_celery.context import under_test
from livecheck_celery.integrations.celery import install
from livecheck_celery.models import SignalEvent, TestExecution
from tests.helpers.djangosite import Customer
from tests.helpers.factories import BrokenStr, make_test
from tests.helpers.waiting import wait_until

CASE = "shop.test_order"
SOURCES = {
    "sources": {
        "executed": ["task", "orders.execute"],
        "answered": ["request", "POST /order/{id}/"],
    }
}


@pytest.fixture
def case(livecheck: LiveCheck) -> Any:
    class test_order:
        executed: Signal[int] = Signal.from_task("orders.execute")
        answered: Signal[dict[str, Any]] = Signal.from_request("POST", "/order/{id}/")

    case = livecheck.case(name=CASE)(test_order)
    livecheck.runtime.store.registry.register(case.name, case.describe())
    return case


def current(test_id: str, case_name: str = CASE) -> TestExecution:
    now = datetime.now(UTC)
    return TestExecution(test_id, case_name, now, [], {}, now + timedelta(minutes=5))


def arrived(case: Any, test_id: str) -> dict[str, SignalEvent]:
    found: dict[str, SignalEvent] = case.app.runtime.store.signals.awaited([(case.name, test_id, list(case.signals))])[
        0
    ]
    return found


@pytest.mark.promise(
    "`Signal.from_task` is sent when a Celery task ends, in a service that declares no case.",
    theme="signals",
)
def test_task_sends_its_result_or_its_exception(case: Any, orders: Celery) -> None:
    @orders.task(name="orders.execute", shared=False)
    def execute(number: int) -> float:
        return 10 / number

    with under_test(current("good")):
        execute.delay(5)
    with under_test(current("bad")):
        execute.delay(0)
    wait_until(lambda: arrived(case, "bad"))
    assert arrived(case, "good")["executed"].value == "2.0"
    error = arrived(case, "bad")["executed"].error
    assert error == "task orders.execute raised ZeroDivisionError: division by zero"


def test_task_whose_exception_has_a_broken_str_is_reported_by_its_type(case: Any, orders: Celery) -> None:
    @orders.task(name="orders.execute", shared=False)
    def execute() -> None:
        raise BrokenStr

    with under_test(current("broken")):
        execute.delay()
    wait_until(lambda: arrived(case, "broken"))
    assert arrived(case, "broken")["executed"].error == "task orders.execute raised BrokenStr"


def test_task_sends_its_signal_to_a_test_triggered_in_it(case: Any, orders: Celery) -> None:
    @orders.task(name="orders.execute", shared=False)
    def execute() -> str:
        case.probability = 1.0
        with case.maybe_trigger("inner"):
            pass
        return "done"

    with Work():  # as in a worker: an eager task belongs to its caller
        execute.delay()
    wait_until(lambda: arrived(case, "inner"))
    assert arrived(case, "inner")["executed"].value == '"done"'


def test_django_signal_in_the_first_request_of_the_process_that_declares_the_case_is_sent(livecheck: LiveCheck) -> None:
    class test_customer:
        saved: Signal[dict[str, Any]] = Signal.from_django(post_save, sender="shop.Customer")

    case = livecheck.case(name="shop.test_customer", probability=1.0)(test_customer)
    livecheck.runtime.store.registry.register(case.name, case.describe())
    with under_test(current("o-1", case.name)):  # the shared configuration has not been read yet
        post_save.send(sender=Customer, instance=Customer(pk=7))
    wait_until(lambda: arrived(case, "o-1"))
    assert arrived(case, "o-1")["saved"].value == '{"id":7}'
    livecheck.close()
    assert not post_save.has_listeners(Customer)


def test_operation_without_a_matching_signal_sends_nothing(case: Any, orders: Celery) -> None:
    @orders.task(name="orders.execute", shared=False)
    def execute() -> None: ...

    @orders.task(name="orders.other", shared=False)
    def other() -> None: ...

    (service,) = [install(orders)]
    execute.delay()
    with under_test(current("o-1", "another.case")):
        execute.delay()
    with under_test(current("o-2")):
        other.delay()
        service.operation_finished("request", "POST /order/1/", [make_test("o-3")], value={"status": 201})
    assert service.flush()
    assert not arrived(case, "o-1")
    assert not arrived(case, "o-2")
    assert not case.app.runtime.store.client.keys("*signals:o-1*"), "nor for the other case"
    sent = service.runtime.outbox.sent
    with under_test(current("o-2")):
        other.delay()
    assert service.flush()
    assert service.runtime.outbox.sent == sent, "once the sources are known, other operations do not reach the outbox"


@pytest.mark.promise(
    "`Signal.from_request` is sent when a response has been sent, in a service that declares no case.",
    theme="signals",
)
def test_response_sends_the_signal_of_its_route(case: Any, orders: Celery) -> None:
    service = install(orders)
    tests = [current("o-1"), current("o-2")]
    service.gate.request_finished("POST", "/order/7/", 201, tests[:1])
    service.gate.request_finished("POST", "/order/7/", 503, tests[1:])
    assert service.flush()
    assert arrived(case, "o-1")["answered"].value == '{"method":"POST","path":"/order/7/","status":201}'
    assert arrived(case, "o-2")["answered"].error == "POST /order/7/ returned status 503"


@pytest.mark.parametrize(
    ("value", "problem"),
    [(object(), "cannot be sent as JSON"), ("x" * 2000, "is 2002 bytes, over the limit of 1000")],
)
def test_value_that_cannot_be_sent_becomes_an_error_of_the_signal(
    case: Any, redis_url: str, value: object, problem: str
) -> None:
    service = install(Celery("orders", broker=redis_url, set_as_current=False), max_payload=1000)
    service.operation_finished("task", "orders.execute", [current("o-1")], value=value)
    assert service.flush()
    assert problem in str(arrived(case, "o-1")["executed"].error)
    service.close()


def test_service_without_cases_adds_no_beat_entries(orders: Celery) -> None:
    assert orders.conf.beat_schedule == {}


@pytest.mark.promise(
    "Dropped items and ignored headers are counted by reason, for all processes together.",
    theme="requests",
)
def test_ignored_headers_and_dropped_items_are_counted_across_processes(case: Any, orders: Celery) -> None:
    service = install(orders)
    service.gate.accept([("LiveCheck-Test-Id", "forged")])
    service.runtime.outbox.drop(2, "full", "the outbox is full")
    wait_until(lambda: len(case.app.runtime.store.counters.read().counts) == 2)
    assert case.app.runtime.store.counters.read().counts == {"headers ignored: no secret_key": 1, "dropped: full": 2}


def test_invalid_setting_of_one_livecheck_does_not_affect_another(
    case: Any, orders: Celery, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    invalid = LiveCheck(Celery("invalid", broker=redis_url, set_as_current=False), test_concurrency=0)

    @orders.task(name="orders.execute", shared=False)
    def execute() -> str:
        return "done"

    for test_id in ("o-1", "o-2"):
        with under_test(current(test_id)):
            execute.delay()
    wait_until(lambda: arrived(case, "o-2"))
    assert arrived(case, "o-1")["executed"].value == '"done"'
    assert caplog.text.count("failed to record task orders.execute") == 1, "logged once, not for each task"
    del invalid


def test_first_request_loads_the_shared_configuration(case: Any, orders: Celery) -> None:
    service = install(orders)
    assert service.runtime.shared_config.sources is None
    assert service.gate.accept([("Host", "shop")]).test is None
    wait_until(lambda: service.runtime.shared_config.sources)
