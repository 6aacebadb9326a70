"""Order, spacing and number of arrivals, asserted in `run()`, on a real server."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery
from celery.app.trace import build_tracer

from livecheck_celery import Case, ConfigurationError, LiveCheck, LiveCheckTestFailed, Signal, State
from livecheck_celery.blocks import Work
from livecheck_celery.cases.arguments import build
from livecheck_celery.context import current_tests, under_test
from livecheck_celery.integrations.celery import install
from livecheck_celery.propagation.headers import outgoing
from livecheck_celery.utils import clock
from tests.helpers.factories import make_gate
from tests.helpers.order_case import execute, reports


def declare(livecheck: LiveCheck, run: Any, **signals: Signal[Any]) -> Any:
    cls = type("test_order", (Case,), {"run": run, **signals})
    return livecheck.add_case(cls, name="shop.test_order", probability=1.0)


def run_test(case: Any, *names: str) -> Any:
    """Trigger a test, send signals as part of it, and execute it."""
    test = case.trigger("o-1")
    with under_test(test):
        for name in names:
            case.signals[name].send(name)
    assert case.app.flush()
    return case.execute_here(test)


@pytest.mark.promise("A signal that arrives twice is shown, and `Signal(times=1)` forbids it.", theme="signals")
def test_signal_that_arrives_twice_is_shown_in_the_report(livecheck: LiveCheck) -> None:
    case = declare(livecheck, lambda self: self.stored.wait(timeout=5), stored=Signal())
    assert run_test(case, "stored", "stored").state is State.PASS
    [report] = reports(livecheck)
    assert report.signal_arrivals == {"stored": 2}


def test_signal_that_arrives_twice_is_named_in_a_timeout(livecheck: LiveCheck) -> None:
    case = declare(livecheck, lambda self: self.sold.wait(timeout=0.05), stored=Signal(), sold=Signal())
    runner = run_test(case, "stored", "stored")
    assert runner.state is State.TIMEOUT
    assert str(runner.error).endswith("arrived so far: stored (twice)")


@pytest.mark.parametrize("waits", [True, False])
def test_signal_that_arrives_more_often_than_allowed_fails_the_test(livecheck: LiveCheck, waits: bool) -> None:
    def run(self: Any) -> None:
        if waits:
            self.stored.wait(timeout=5)

    case = declare(livecheck, run, stored=Signal(times=1))
    runner = run_test(case, "stored", "stored")
    assert runner.state is State.FAIL
    assert "arrived twice (times=1)" in str(runner.error)
    assert run_test(case, "stored").state is State.PASS


def test_duplicate_that_arrives_during_the_run_fails_the_test(livecheck: LiveCheck) -> None:
    def run(self: Any) -> None:
        self.stored.wait(timeout=5)
        with under_test(self.current_execution.test):
            self.stored.send("again")
        assert self.app.flush()

    case = declare(livecheck, run, stored=Signal(times=1))
    assert run_test(case, "stored").state is State.FAIL


def test_task_that_is_executed_twice_fails_the_test(livecheck: LiveCheck, redis_url: str) -> None:
    orders = Celery("orders", broker=redis_url, set_as_current=False)
    orders.conf.task_always_eager = True
    service = install(orders)

    @orders.task(name="orders.store", shared=False)
    def store() -> int:
        return 1

    case = declare(
        livecheck, lambda self: self.stored.wait(timeout=5), stored=Signal.from_task("orders.store", times=1)
    )
    livecheck.runtime.store.registry.register(case.name, case.describe())
    test = case.trigger("o-1")
    with under_test(test):
        store.delay()
        store.delay()
    assert service.flush()
    assert case.execute_here(test).state is State.FAIL
    service.close()


def test_order_and_spacing_can_be_asserted(livecheck: LiveCheck) -> None:
    def run(self: Any) -> None:
        self.sold.wait(timeout=5)
        self.stored.wait(timeout=5)
        assert self.stored.received_at < self.sold.received_at
        assert self.sold.received_at - self.stored.received_at < 60
        assert (self.stored.arrivals, self.sold.arrivals, self.never.arrivals) == (2, 1, 0)
        with pytest.raises(LiveCheckTestFailed, match="never .* has not arrived"):
            _ = self.never.received_at

    case = declare(livecheck, run, stored=Signal(), sold=Signal(), never=Signal())
    runner = run_test(case, "stored", "sold", "stored")
    assert runner.state is State.PASS, runner.error
    assert list(runner.signal_since_trigger) == ["stored", "sold"]


def test_arrivals_are_known_only_in_run(livecheck: LiveCheck) -> None:
    case = declare(livecheck, lambda _: None, stored=Signal())
    with pytest.raises(RuntimeError, match="inside run"):
        _ = case.stored.received_at
    with pytest.raises(RuntimeError, match="inside run"):
        _ = case.stored.arrivals


@pytest.mark.parametrize("times", [0, -1, True, 1.5, "1"])
def test_times_must_be_a_number(livecheck: LiveCheck, times: Any) -> None:
    with pytest.raises(ConfigurationError, match="case shop.test_order: signal stored: times="):
        declare(livecheck, lambda _: None, stored=Signal(times=times))


def directly(send: Callable[[], None]) -> None:
    send()


def over_celery(send: Callable[[], None]) -> None:
    orders = Celery("orders", broker="redis://nowhere", set_as_current=False)
    sent: list[bool] = []

    @orders.task(name="orders.store", shared=False)
    def store() -> None:
        send()
        sent.append(bool(current_tests()))

    execute_message: Any = build_tracer(store.name, store, app=orders)  # as a worker does
    contextvars.Context().run(execute_message, "task-1", (), {}, request=outgoing())
    assert sent == [True]


def over_http(send: Callable[[], None]) -> None:
    gate = make_gate("k" * 32, hosts=["shop"])
    headers = gate.headers_for("shop")

    def serve() -> None:
        assert not current_tests()
        carried = gate.accept(headers.items())
        with Work(*carried):
            assert current_tests()
            send()

    contextvars.Context().run(serve)


@pytest.mark.promise("A signal of one test never counts for another test of the same id.", theme="signals")
@pytest.mark.parametrize("hop", [directly, over_celery, over_http])
@pytest.mark.parametrize("at_once", [True, False])
def test_signal_of_a_dropped_duplicate_does_not_count(
    livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch, hop: Callable[[Callable[[], None]], None], at_once: bool
) -> None:
    case = declare(livecheck, lambda self: self.stored.wait(timeout=0.05), stored=Signal())
    if at_once:
        now = clock.now()
        monkeypatch.setattr(clock, "now", lambda: now)
    test = case.trigger("o-1")
    with case.maybe_trigger("o-1") as dropped:
        assert dropped is not None
        hop(lambda: case.stored.send("of the second test"))
    monkeypatch.undo()
    assert case.app.flush()
    assert case.app.runtime.outbox.counts == {"duplicate": 1, "stale": 1}
    assert case.execute_here(test).state is State.TIMEOUT


def test_message_of_a_chain_that_is_delivered_again_keeps_the_signals_of_its_record(livecheck: LiveCheck) -> None:
    def run(self: Any) -> None:
        self.stored.send("by the run itself")
        assert self.app.flush()
        assert self.stored.wait(timeout=5) == "by the run itself"

    case = declare(livecheck, run, stored=Signal())
    first, again = build(case, "o-1"), build(case, "o-1")
    store = livecheck.runtime.store
    options = {"address": "gone", "lease": 0.0, "active": True, "frequency": None, "max_history": 3, "expires_in": 60.0}
    assert store.executions.claim(first, token="gone", **options).outcome == "run"
    runner = case.execute_here(again)
    assert runner.state is State.PASS, runner.error
    assert runner.test.use == first.use
    assert execute(case, id="o-2").state is State.PASS
