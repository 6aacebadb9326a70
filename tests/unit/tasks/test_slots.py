"""Messages that wait for a slot of a worker."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest
from celery.app.task import Context
from celery.worker import state
from kombu.common import QoS

from livecheck_celery import Case, LiveCheck
from livecheck_celery.delivery.publisher import CASE_KEYWORD, EXECUTE, TEST_KEYWORD
from livecheck_celery.store import Store
from livecheck_celery.store.counters import PUT_OFF, RESENT
from livecheck_celery.tasks import put_off, slots
from livecheck_celery.tasks.put_off import PutOff
from livecheck_celery.tasks.recovery import sweep
from livecheck_celery.tasks.slots import Slots
from tests.helpers.executions import claim
from tests.helpers.factories import CASE, make_test

OTHER = "other"


class Request:
    """A message that the worker received."""

    acknowledged = False
    is_revoked = False

    def __init__(self, worker: Worker, task: Any, number: int, name: str, **test: Any) -> None:
        self.id = f"task-{name}-{number}"
        self.task = task
        carried = make_test(f"{name}-{number}", case_name=name, recorded_at=1.0, **test)
        self.kwargs = {CASE_KEYWORD: name, TEST_KEYWORD: carried.as_message()}
        self._worker = worker

    def revoked(self) -> bool:
        return self.is_revoked

    def context(self) -> Context:
        return Context(id=self.id, args=[], kwargs=self.kwargs)

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        assert pid == os.getpid()
        self.acknowledge()

    def acknowledge(self) -> None:
        if not self.acknowledged:
            self._worker.acknowledged.append(self)
        self.acknowledged = True

    def on_success(self, *_: Any) -> None:
        state.task_ready(self)

    def on_failure(self, *_: Any) -> None:
        state.task_ready(self)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Do nothing."""


class Worker:
    """A worker of Celery with four slots."""

    max_concurrency = None

    def __init__(self, count: int = 4) -> None:
        self.pool = SimpleNamespace(num_processes=count, limit=count, is_green=False)
        self.running: list[Request] = []
        self.acknowledged: list[Request] = []
        self.consumer: Any = SimpleNamespace(
            on_task_request=self.running.append,
            initial_prefetch_count=count,
            qos_global=True,
            connection=SimpleNamespace(transport=SimpleNamespace(driver_type="amqp")),
            call_soon=lambda function: function(),
        )
        self.reconnect()

    def reconnect(self) -> None:
        self.consumer.qos = QoS(lambda **_: None, self.consumer.initial_prefetch_count)

    @property
    def names(self) -> list[str]:
        return [request.id.removeprefix("task-") for request in self.running]

    @property
    def prefetched(self) -> int:
        return int(self.consumer.qos.value)


@pytest.fixture
def worker(livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch) -> Worker:
    monkeypatch.setattr(slots, "_TICK", 0.0)
    monkeypatch.setattr(Slots, "_watch", lambda _: None)  # the tests do its work
    for name in (CASE, OTHER):
        livecheck.add_case(Case, name=name)
    return Worker()


@pytest.fixture
def shared(worker: Worker, livecheck: LiveCheck) -> Slots:
    return Slots(worker, [livecheck])


@pytest.fixture
def receive(worker: Worker, shared: Slots, livecheck: LiveCheck) -> Any:
    def receive(number: int, name: str = CASE, **test: Any) -> Request:
        request = Request(worker, livecheck.app.tasks[EXECUTE], number, name, **test)
        state.task_reserved(request)
        worker.consumer.on_task_request(request)
        shared._make_room()
        return request

    return receive


def test_messages_wait_beside_the_prefetch_count_and_run_when_a_slot_is_free(worker: Worker, receive: Any) -> None:
    requests = [receive(number) for number in range(10)]
    assert worker.names == [f"{CASE}-{number}" for number in range(4)]
    assert worker.prefetched == 4 + 6
    assert not any(request in state.reserved_requests for request in requests[4:])
    requests[1].on_success()
    assert worker.names[4:] == [f"{CASE}-4"]
    assert worker.prefetched == 4 + 5
    assert requests[4] in state.reserved_requests
    assert not worker.acknowledged


def test_test_that_begins_on_the_event_loop_takes_no_slot(
    worker: Worker, receive: Any, livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Request] = []
    monkeypatch.setattr(livecheck.app.tasks[EXECUTE], "begin", lambda request: begun.append(request) or len(begun) < 7)
    requests = [receive(number) for number in range(8)]
    assert begun[:6] == worker.acknowledged == requests[:6]
    assert worker.running == requests[6:], "no place: a slot waits for one"
    assert not any(request in state.reserved_requests for request in requests[:6])


def test_slot_of_a_test_that_cannot_begin_is_free(
    worker: Worker, receive: Any, shared: Slots, livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> bool:
        raise RuntimeError("cannot start a thread")

    monkeypatch.setattr(livecheck.app.tasks[EXECUTE], "begin", fail)
    with pytest.raises(RuntimeError):
        receive(0)
    assert not shared._running


def test_messages_that_waited_for_the_event_loop_begin_when_it_has_room(
    worker: Worker, receive: Any, shared: Slots, livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = 0
    monkeypatch.setattr(Slots, "_has_place", lambda *_: places > 0)
    monkeypatch.setattr(livecheck.app.tasks[EXECUTE], "begin", lambda _: True)
    requests = [receive(number) for number in range(3)]
    assert not worker.acknowledged
    places = 1
    livecheck.runtime.threads.on_room()
    assert worker.acknowledged == requests


@pytest.mark.parametrize("end", ["on_success", "on_failure", "on_timeout"])
def test_test_of_another_case_is_next_whichever_way_an_execution_ends(worker: Worker, receive: Any, end: str) -> None:
    requests = [receive(number) for number in range(8)]
    receive(0, OTHER)
    getattr(requests[0], end)(False, 1.0)
    assert worker.names[4:] == [f"{OTHER}-0"]
    getattr(requests[0], end)(False, 1.0)
    assert worker.names[4:] == [f"{OTHER}-0"], "its slot is free once"


def test_green_pool_has_its_slots_before_it_has_greenlets(worker: Worker, shared: Slots) -> None:
    worker.pool = SimpleNamespace(num_processes=0, limit=7, is_green=True)  # as of gevent in Celery 5.3
    assert shared.count == 7


def test_soft_time_limit_frees_no_slot(worker: Worker, receive: Any) -> None:
    requests = [receive(number) for number in range(5)]
    requests[0].on_timeout(True, 1.0)
    assert len(worker.running) == 4


def test_test_of_a_fake_request_counts_as_another_case(worker: Worker, receive: Any) -> None:
    requests = [receive(number) for number in range(8)]
    receive(8, synthetic=True)
    requests[0].on_success()
    assert worker.names[4:] == [f"{CASE}-8"]


def test_revoked_test_takes_no_slot(worker: Worker, receive: Any) -> None:
    requests = [receive(number) for number in range(6)]
    requests[4].is_revoked = True
    requests[0].on_success()
    assert worker.names[4:] == [f"{CASE}-5"]


def test_task_of_the_host_does_not_wait(worker: Worker, receive: Any) -> None:
    for number in range(6):
        receive(number)
    request: Any = SimpleNamespace(task=object())
    worker.consumer.on_task_request(request)
    assert worker.running[-1] is request


def test_stopping_worker_starts_no_test_that_waits(worker: Worker, receive: Any, livecheck: LiveCheck) -> None:
    requests = [receive(number) for number in range(6)]
    livecheck.runtime.interruption.after(60.0)
    requests[0].on_success()
    assert len(worker.running) == 4
    assert not requests[4].acknowledged, "so the broker has it again"


def test_message_that_is_delivered_again_waits_once(worker: Worker, receive: Any) -> None:
    requests = [receive(number) for number in range(6)]
    worker.reconnect()
    again = receive(5)
    assert worker.prefetched == 4 + 1
    requests[0].on_success()
    requests[1].on_success()
    assert worker.running[4:] == [requests[4], again]
    assert (requests[4].acknowledged, requests[5].acknowledged, again.acknowledged) == (True, True, False)
    assert not worker.acknowledged, "no acknowledgement of one connection is sent by another"


def test_slots_of_requests_that_the_pool_dropped_are_free(worker: Worker, receive: Any, shared: Slots) -> None:
    requests = [receive(number) for number in range(6)]
    state.reserved_requests.discard(requests[0])
    shared._free_lost()
    shared._fill()
    assert worker.names[4:] == [f"{CASE}-4"]


def test_alone_case_leaves_messages_over_the_bound_to_the_broker(worker: Worker, receive: Any) -> None:
    for number in range(4 + 40 + 4):
        receive(number)
    assert worker.prefetched == 4 + 40
    assert not worker.acknowledged


def test_tests_of_several_cases_wait_in_the_worker(worker: Worker, receive: Any) -> None:
    receive(0, OTHER).on_success()
    for number in range(4 + 500):
        receive(number)
    assert worker.prefetched == 4 + 500
    assert not worker.acknowledged[1:]


def test_over_the_bound_the_case_with_most_gives_its_latest_back(
    worker: Worker, receive: Any, shared: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "MAX_WAITING", 40)
    receive(0, OTHER).on_success()
    requests = [receive(number) for number in range(4 + 40)]
    last = receive(0, OTHER)
    assert worker.acknowledged == [requests[-1]]
    assert not last.acknowledged
    shared._make_room()
    assert worker.prefetched == 4 + 40
    assert [test.id for test in shared._put_off._given_up] == [f"{CASE}-43"]


@pytest.mark.parametrize("reason", ["quorum queue", "reconnected"])
def test_bound_is_the_prefetch_count_if_it_cannot_be_raised(worker: Worker, receive: Any, reason: str) -> None:
    if reason == "reconnected":
        worker.consumer._maximum_prefetch_restored = False
    else:
        worker.consumer.qos_global = False
    receive(0, OTHER).on_success()
    requests = [receive(number) for number in range(4 + 4)]
    assert worker.acknowledged == [requests[-1]], "so that the broker delivers one more"
    assert worker.prefetched == 4


def test_worker_expects_the_fake_requests_of_its_cases(worker: Worker, livecheck: LiveCheck) -> None:
    livecheck.add_case(Case, name="faked", frequency=5.0)
    assert not Slots(worker, [livecheck])._share.is_alone(slots.Party(EXECUTE, CASE))


def test_prefetch_count_is_raised_after_others_had_a_chance(
    worker: Worker, receive: Any, shared: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "_TICK", 3600.0)
    for number in range(6):
        receive(number)
    assert worker.prefetched == 4
    monkeypatch.setattr(slots, "_TICK", 0.0)
    shared._make_room()
    shared._make_room()
    assert worker.prefetched == 4 + 2


# -- tests that are put off in Redis


def held(test: Any) -> Any:
    request = SimpleNamespace(kwargs={TEST_KEYWORD: test.as_message()})
    return SimpleNamespace(request=request, held_at=0.0)


def seconds_left(store: Store) -> float:
    [(_, at)] = store.client.zrange(store.keys.open(CASE), 0, -1, withscores=True)
    return float(at) - store.time()


def test_given_up_test_is_sent_by_the_sweep(
    livecheck: LiveCheck, worker: Worker, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(livecheck.runtime.publisher, "execute_all", lambda tests: sent.extend(t.id for t in tests))
    tests, case = PutOff([livecheck]), livecheck.cases[CASE]
    recorded = store.executions.record(make_test("waits"), expires_in=600)
    for seconds in (5, 10, 20, 30):
        assert tests.give_up(held(recorded).request)
        tests.write()
        assert seconds_left(store) == pytest.approx(seconds, abs=2)
        store.executions.make_due(CASE, ["waits"])
        sweep(case)
    assert sent == ["waits"] * 4
    counts = livecheck.runtime.outbox._uncounted
    assert (counts[PUT_OFF], counts[RESENT]) == (4, 0)


def test_test_without_a_record_is_not_given_up(livecheck: LiveCheck) -> None:
    assert not PutOff([livecheck]).give_up(held(make_test("chained")).request)
    assert not PutOff([livecheck]).give_up(SimpleNamespace(kwargs={}))


def test_test_that_waits_long_is_put_off(livecheck: LiveCheck, worker: Worker, store: Store) -> None:
    tests = PutOff([livecheck])
    waiting = held(store.executions.record(make_test("waits"), expires_in=600))
    for _ in range(2):
        waiting.held_at -= put_off.HOLD_EVERY
        tests.hold([waiting])
        tests.hold([waiting])
        assert len(tests._held) == 1
        tests.write()
        assert seconds_left(store) == pytest.approx(put_off.HOLD_FOR, abs=2)
    assert not tests.is_pending
    assert livecheck.runtime.outbox._uncounted[PUT_OFF] == 0


def test_only_an_execution_that_no_worker_runs_is_put_off(store: Store) -> None:
    def put_off(test: Any) -> None:
        store.executions.put_off([test], 5.0, 30.0)

    recorded = store.executions.record(make_test(), expires_in=3)
    before = seconds_left(store)
    put_off(make_test("unknown", recorded_at=1.0))
    put_off(make_test(recorded_at=1.0))  # an earlier use of the id
    assert seconds_left(store) == pytest.approx(before, abs=1)
    assert not store.client.hexists(store.keys.test(CASE, recorded.id), "taken")
    put_off(recorded)
    assert seconds_left(store) < 3  # the sweep closes it when it expires
    claim(store, recorded)
    store.client.hdel(store.keys.test(CASE, recorded.id), "taken")
    put_off(recorded)
    assert not store.client.hexists(store.keys.test(CASE, recorded.id), "taken")
