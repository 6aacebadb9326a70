"""The tasks of LiveCheck: their errors, their arguments, and tests that are handed back."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from celery.app.task import Context
from celery.exceptions import Ignore

from livecheck_celery import (
    BrokerUnavailable,
    Case,
    InvalidPayload,
    LiveCheck,
    RedisUnavailable,
    State,
    TestExecution,
    UnknownCase,
)
from livecheck_celery.delivery.message_options import MessageOptions
from livecheck_celery.delivery.publisher import CASE_KEYWORD, PREFIX_KEYWORD, TEST_KEYWORD
from livecheck_celery.models import EXECUTION
from livecheck_celery.store.open_cases import Due
from livecheck_celery.tasks import handlers
from livecheck_celery.tasks.each import all_of, each, each_at_once
from livecheck_celery.tasks.handlers import Tasks
from tests.helpers.factories import CASE, make_report, make_test


@pytest.fixture
def case(livecheck: LiveCheck) -> Any:
    return livecheck.add_case(Case, name=CASE)


@pytest.fixture
def executed(case: Any, monkeypatch: pytest.MonkeyPatch) -> list[TestExecution]:
    """The tests that are executed, and pass."""
    tests: list[TestExecution] = []

    def execute(test: TestExecution) -> Any:
        tests.append(test)
        return SimpleNamespace(handed_back=False, state=State.PASS, report=make_report(State.PASS, test))

    monkeypatch.setattr(case, "execute_here", execute)
    return tests


def test_all_tasks_are_registered_once_per_app(livecheck: LiveCheck) -> None:
    tasks = {name for name in livecheck.app.tasks if name.startswith("livecheck.")}
    assert tasks == {
        "livecheck.execute",
        "livecheck.fake_request",
        "livecheck.heartbeat",
        "livecheck.recover",
        "livecheck.stalled",
    }
    execute = livecheck.app.tasks["livecheck.execute"]
    LiveCheck(livecheck.app, redis_url="redis://127.0.0.1:1/0")
    assert livecheck.app.tasks["livecheck.execute"] is execute


def test_error_of_livecheck_in_a_task_is_one_log_line(
    livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise RedisUnavailable("refused")

    livecheck.add_case(Case, name="c")
    monkeypatch.setattr(livecheck.runtime.store.executions.open_cases, "due", fail)
    assert livecheck.app.tasks["livecheck.recover"]() is None
    assert [record.levelname + " " + record.getMessage() for record in caplog.records] == [
        "ERROR livecheck.recover: refused"
    ]


def test_other_error_in_a_task_is_raised(livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(livecheck.runtime.store.executions.open_cases, "due", fail)
    with pytest.raises(ZeroDivisionError):
        livecheck.app.tasks["livecheck.recover"]()


@pytest.mark.parametrize("name", [None, 7, ["c"], "shop.gone"])
def test_case_that_is_not_declared_is_unknown(livecheck: LiveCheck, case: Any, name: Any) -> None:
    with pytest.raises(UnknownCase, match="unknown case"):
        Tasks([livecheck]).make_fake_request(**{CASE_KEYWORD: name})


def test_execution_in_the_message_is_executed(case: Any, executed: list[TestExecution]) -> None:
    test = make_test("o-1", test_args=["buy"])
    message = {CASE_KEYWORD: CASE, TEST_KEYWORD: EXECUTION.dump_python(test, mode="json")}
    assert Tasks([case.app]).execute(**message) == "PASS"
    assert executed == [test]


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        (("o-1", "buy"), {"amount": 3}, ("o-1", ["buy"], {"amount": 3})),
        ((), {"id": "o-1", "amount": 3}, ("o-1", [], {"amount": 3})),
    ],
)
def test_arguments_of_a_chain_become_an_execution(
    case: Any, executed: list[TestExecution], args: Any, kwargs: Any, expected: Any
) -> None:
    Tasks([case.app]).execute(*args, **{CASE_KEYWORD: CASE}, **kwargs)
    [test] = executed
    assert (test.id, test.test_args, test.test_kwargs) == expected


def test_execution_without_an_id_has_the_id_of_its_task(
    case: Any, executed: list[TestExecution], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "current_task", SimpleNamespace(request=Context(id="task-1")))
    Tasks([case.app]).execute(**{CASE_KEYWORD: CASE})
    monkeypatch.setattr(handlers, "current_task", None)
    Tasks([case.app]).execute(**{CASE_KEYWORD: CASE})
    first, second = executed
    assert first.id == "task-1"
    assert len(second.id) > 20, "outside a worker, a new one"


def test_arguments_of_a_chain_over_the_limit_are_refused(
    case: Any, executed: list[TestExecution], caplog: pytest.LogCaptureFixture
) -> None:
    arguments = ("o-1", "x" * case.app.settings.max_payload)
    assert Tasks([case.app]).execute(*arguments, **{CASE_KEYWORD: CASE}) == "ERROR"
    assert executed == []
    assert caplog.messages[0].startswith("tasks: refused a message: ")
    assert "over the limit" in caplog.messages[0]


CARRIED: dict[str, Any] = {CASE_KEYWORD: CASE, TEST_KEYWORD: make_test("o-1").as_message()}


def finish(case: Any, monkeypatch: pytest.MonkeyPatch, **runner: Any) -> None:
    """Make every test of the case end as ``runner`` says."""
    monkeypatch.setattr(case, "execute_here", lambda test: SimpleNamespace(test=test, report=None, **runner))


def test_test_that_is_handed_back_is_sent_again_with_its_options(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[TestExecution] = []
    finish(case, monkeypatch, handed_back=True)
    monkeypatch.setattr(case.app.runtime.publisher, "execute", sent.append)
    request = Context(
        id="task-1",
        callbacks=[case.app.app.signature("shop.next")],
        chain=[{"task": "shop.last"}],
        delivery_info={"exchange": "", "routing_key": "eu", "priority": 7},
        reply_to="replies",
        my_header="x",
    )
    monkeypatch.setattr(handlers, "current_task", SimpleNamespace(request=request))
    with pytest.raises(Ignore):
        Tasks([case.app]).execute(**CARRIED)
    [test] = sent
    options = MessageOptions.parse(test.message_options)
    assert options.sending == {"queue": "eu", "priority": 7, "headers": {"my_header": "x"}}
    assert (options.message["task_id"], options.message["reply_to"]) == ("task-1", "replies")
    assert options.message["callbacks"][0]["task"] == "shop.next"
    assert options.message["chain"] == [{"task": "shop.last"}]


def test_test_that_cannot_be_sent_again_is_left_to_recovery(
    case: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    finish(case, monkeypatch, handed_back=True)
    case.app.runtime.store.executions.record(make_test("o-1"), expires_in=60.0)
    with pytest.raises(Ignore):  # the broker refuses connections
        Tasks([case.app]).execute(**CARRIED)
    assert case.app.runtime.store.executions.due(CASE, 10) == ["o-1"], "at once, not when the message is overdue"
    [line] = caplog.messages
    assert line.startswith(f"tasks: {CASE}:o-1: not handed back, recovery takes over: the broker did not accept")


def test_stopping_worker_tries_again_to_hand_a_test_back(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(case, monkeypatch, handed_back=True)
    attempts: list[Any] = []

    def execute(test: Any) -> None:
        attempts.append(test)
        if len(attempts) < 3:
            raise BrokerUnavailable("the broker is slow")

    monkeypatch.setattr(case.app.runtime.publisher, "execute", execute)
    case.app.runtime.interruption.after(0.0)
    with pytest.raises(Ignore):
        Tasks([case.app]).execute(**CARRIED)
    assert len(attempts) == 3


@pytest.mark.parametrize("state", [State.INIT, State.PASS], ids=["not claimed", "verdict refused"])
def test_task_without_the_verdict_leaves_the_result_to_the_one_that_has_it(
    case: Any, monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    finish(case, monkeypatch, handed_back=False, state=state)
    with pytest.raises(Ignore):
        Tasks([case.app]).execute(**CARRIED)


def test_message_of_another_environment_is_refused_and_counted(
    case: Any, executed: list[TestExecution], caplog: pytest.LogCaptureFixture
) -> None:
    task = case.app.app.tasks["livecheck.execute"]
    assert task(**{**CARRIED, PREFIX_KEYWORD: "staging"}) is None
    assert executed == []
    [line] = caplog.messages
    assert line.startswith("livecheck.execute: a message of the environment with prefix 'staging' came to the queue of")
    assert case.app.runtime.outbox._uncounted == {"foreign messages": 1}
    assert task(**{**CARRIED, PREFIX_KEYWORD: "livecheck"}) == "PASS"


def test_message_without_options_has_none(case: Any, monkeypatch: pytest.MonkeyPatch, executed: Any) -> None:
    request = Context(id="t", ignore_result=True, delivery_info={"exchange": "", "routing_key": "livecheck"})
    monkeypatch.setattr(handlers, "current_task", SimpleNamespace(request=request))
    Tasks([case.app]).execute(**CARRIED)
    assert executed[0].message_options is None, "nothing to store"


def test_case_declared_during_the_stalled_check_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[Exception] = []
    late = SimpleNamespace(fail_suite=lambda exc, _: failed.append(exc))
    suites = SimpleNamespace(stalled=lambda limits, **_: dict.fromkeys(limits, 2.0))
    liveness = SimpleNamespace(schedules_seen=lambda: None, has_earlier_stall_checks=lambda: False)
    store = SimpleNamespace(suites=suites, liveness=liveness)
    livecheck: Any = SimpleNamespace(cases={}, runtime=SimpleNamespace(store=store))

    def declare_late(_: Any) -> dict[str, float]:
        livecheck.cases["late"] = late
        return {"late": 1.0}

    monkeypatch.setattr(handlers, "stall_limits", declare_late)
    Tasks([livecheck]).check_stalled()
    assert [str(exc) for exc in failed] == ["no test received for 2.0 s (limit 1 s)"]


def report_stalls(monkeypatch: pytest.MonkeyPatch, livecheck: LiveCheck) -> None:
    store = livecheck.runtime.store
    monkeypatch.setattr(store.liveness, "has_earlier_stall_checks", lambda: False)
    monkeypatch.setattr(store.suites, "stalled", lambda limits, **_: dict.fromkeys(limits, 2.0))


@pytest.mark.parametrize("earlier", [False, True])
def test_stalled_check_looks_at_all_suites_while_a_worker_of_an_earlier_version_runs(
    monkeypatch: pytest.MonkeyPatch, earlier: bool
) -> None:
    asked = []
    suites = SimpleNamespace(stalled=lambda limits, *, everything: asked.append((limits, everything)) or {})
    liveness = SimpleNamespace(schedules_seen=lambda: None, has_earlier_stall_checks=lambda: earlier)
    store = SimpleNamespace(suites=suites, liveness=liveness)
    livecheck: Any = SimpleNamespace(cases={}, runtime=SimpleNamespace(store=store))
    Tasks([livecheck]).check_stalled()
    assert asked == [({}, earlier)]


def test_stall_of_each_case_is_reported_although_others_fail(
    livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failed: list[str] = []

    class Failing(Case):
        def fail_suite(self, exc: Exception, new_state: State = State.FAIL) -> None:
            if self.name == "2":
                raise ZeroDivisionError
            if self.name == "3":
                raise InvalidPayload("not JSON")
            if self.name == "4":
                raise RedisUnavailable("refused")
            failed.append(self.name)

    names = ["1", "2", "3", "4", "5"]
    for name in names:
        livecheck.add_case(Failing, name=name)
    report_stalls(monkeypatch, livecheck)
    with pytest.raises(RedisUnavailable):
        Tasks([livecheck]).check_stalled()
    assert sorted(failed) == ["1", "5"]
    lines = sorted(line.partition(":")[2].partition(":")[0] for line in caplog.messages)
    assert lines == [" case 2", " case 3", " case 4"]


def test_stall_of_each_case_is_reported_although_a_hook_of_another_hangs(
    livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported, others = set[str](), threading.Event()

    class Slow(Case):
        def on_suite_fail(self, exc: Exception, new_state: State = State.FAIL) -> None:
            if self.name == "2":
                assert others.wait(10.0), "the hooks of the other cases are called meanwhile"
            reported.add(self.name)
            if reported == {"1", "3", "4", "5"}:
                others.set()

    for name in ("1", "2", "3", "4", "5"):
        livecheck.add_case(Slow, name=name)
    report_stalls(monkeypatch, livecheck)
    Tasks([livecheck]).check_stalled()
    assert reported == {"1", "2", "3", "4", "5"}


@pytest.mark.parametrize("act_on_each", [each, each_at_once])
def test_server_that_is_down_is_asked_for_a_few_cases_only(act_on_each: Any) -> None:
    asked = list[str]()

    def act(name: str) -> None:
        asked.append(name)
        raise RedisUnavailable("silent")

    with pytest.raises(RedisUnavailable):
        act_on_each("sweep", map(str, range(1_000)), act)
    assert len(asked) < 100


def test_unavailable_server_is_not_asked_for_every_case() -> None:
    asked: list[str] = []

    def act(name: str) -> None:
        asked.append(name)
        if name != "1":
            raise RedisUnavailable("silent")

    with pytest.raises(RedisUnavailable):
        each("recovery", map(str, range(10)), act)
    assert asked == ["0", "1", "2", "3", "4"]


def test_sweep_of_a_case_that_fails_delays_no_other_and_no_fake_request(
    livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[str] = []

    def sweep(case: Any, queues: Any) -> None:
        if case.name == "1":
            raise BrokerUnavailable("refused")
        swept.append(case.name)

    for name in ("1", "2"):
        livecheck.add_case(Case, name=name)
    monkeypatch.setattr(handlers, "sweep", sweep)
    monkeypatch.setattr(handlers, "resend_lapsed", lambda *_: swept.append("fake requests"))
    monkeypatch.setattr(livecheck.runtime.store.executions.open_cases, "due", lambda names, _: Due(names, []))
    with pytest.raises(BrokerUnavailable):
        Tasks([livecheck]).recover()
    assert swept == ["2", "fake requests"]


def test_every_livecheck_is_served_although_one_fails() -> None:
    served: list[int] = []

    def act(number: int) -> None:
        served.append(number)
        raise ValueError(number)

    with pytest.raises(ValueError, match="1"):
        all_of([1, 2], act)
    assert served == [1, 2]
