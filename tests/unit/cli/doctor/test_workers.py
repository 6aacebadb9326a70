"""``doctor`` on the broker, the queues and the workers."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from livecheck_celery import Case, LiveCheck, RedisUnavailable
from livecheck_celery.cli.doctor import workers
from livecheck_celery.cli.doctor.redis import check_clocks
from livecheck_celery.store import Store
from livecheck_celery.store.liveness import RunningProcess
from tests.helpers.doctor import COMMANDS, QUEUES, lines, run, worker


def test_queue_without_consumer_is_an_error(livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "query_workers", lambda _: [worker("livecheck.schedule", "celery")])
    result = run()
    assert result.exit_code == 1
    tests, schedule = lines(result)["queue"]
    assert tests.startswith("error: livecheck: no worker consumes it; start one: celery -A shop_app worker ")
    assert tests.endswith(" -Q livecheck,livecheck.schedule -P threads -c 100")
    assert schedule == "ok: livecheck.schedule: consumed by celery@one, seen 3 s ago"


def test_broker_outage_is_an_error_that_hides_the_password(livecheck: LiveCheck) -> None:
    livecheck.settings = livecheck.settings.model_copy(update={"broker_url": "redis://:hunter2@127.0.0.1:1/0"})
    result = run()
    assert result.exit_code == 1
    found = lines(result)
    assert found["broker"][0].startswith("error: redis://127.0.0.1:1/0 did not answer (Error 111 connecting")
    assert found["queue"] == [f"error: {name}: not checked: the broker is not available" for name in QUEUES]
    assert "hunter2" not in result.output


def test_broker_check_has_a_timeout(livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "TIMEOUT", 0.05)
    hung, over = threading.Event(), threading.Event()

    def hang(_: Any, **__: Any) -> Any:
        hung.set()
        over.wait(10)

    monkeypatch.setattr("kombu.Connection.ensure_connection", hang)
    started = time.monotonic()
    finding = workers.check_broker(livecheck)
    over.set()
    assert hung.is_set()
    assert time.monotonic() - started < 5
    assert not finding.ok
    assert "timeout after 0.05 s" in finding.found


def test_failure_to_query_the_workers_is_an_error(livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Any) -> Any:
        raise RedisUnavailable("connection reset")

    monkeypatch.setattr(workers, "query_workers", refuse)
    assert lines(run())["queue"][0] == "error: livecheck: connection reset"


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (worker(*QUEUES), []),
        (worker("celery", "livecheck.schedule", pool="prefork"), []),
        (worker("celery", *QUEUES), ["celery@one also consumes celery,"]),
        (worker(*QUEUES, pool="prefork"), ["celery@one runs tests in a prefork pool"]),
        (worker("livecheck", "mail", "celery", pool="prefork"), ["also consumes celery, mail,", "in a prefork pool"]),
    ],
)
def test_unsuitable_worker_is_a_warning(one: RunningProcess, words: list[str]) -> None:
    found = list(workers.judge_workers([one], "livecheck", QUEUES, COMMANDS))
    assert len(found) == len(words)
    for finding, word in zip(found, words, strict=True):
        assert finding.level == "warn", "tests can run"
        assert word in finding.found
        assert "celery -A shop worker" in finding.fix


def test_worker_that_has_stopped_is_an_error_that_says_when_it_was_seen(
    livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "query_workers", lambda _: [worker(*QUEUES, "celery", pool="prefork", age=70.0)])
    found = lines(run())
    assert found["queue"][0].startswith("error: livecheck: no worker consumes it any more: celery@one, seen 70 s ago; ")
    assert "worker" not in found


def test_queue_that_the_app_uses_for_its_own_tasks_is_a_warning(livecheck: LiveCheck) -> None:
    livecheck.app.conf.task_default_queue = "livecheck"
    result = run()
    assert result.exit_code == 0
    assert lines(result)["queue"][1] == (
        "warn: livecheck: it is also task_default_queue of shop, whose own tasks wait among the tests; "
        "give one of them another name"
    )


def test_time_limit_that_is_shorter_than_the_tests_is_a_warning_that_names_it(livecheck: LiveCheck) -> None:
    livecheck.app.conf.update(
        task_annotations={"livecheck.execute": {"time_limit": 60}}, task_time_limit=30, task_soft_time_limit=20
    )
    livecheck.add_case(type("test_short", (Case,), {}), name="shop.test_short", max_runtime=59)
    assert lines(run())["limits"] == [
        f"ok: {name} of {value} s does not apply to tests, which have max_runtime"
        for name, value in (("task_time_limit", 30), ("task_soft_time_limit", 20))
    ]
    livecheck.add_case(type("test_order", (Case,), {}), name="shop.test_order")
    warned, *_ = lines(run())["limits"]
    assert warned.startswith(
        "warn: task_annotations of livecheck.execute end a test after 60 s, but shop.test_order can take longer; "
    )


def sign_in(store: Store, number: int, *queues: str, kind: str = "worker", pool: str = "thread") -> None:
    process = RunningProcess(f"id-{number}", kind, "celery@one", "host", number, queues=queues, pool=pool)
    store.liveness.sign_in(process)


def test_workers_are_found_by_their_signs_of_life(
    livecheck: LiveCheck, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Celery's remote control can be off, and a killed command leaves keys of its replies without TTL."""
    monkeypatch.undo()
    sign_in(store, 1, "celery", pool="prefork")
    sign_in(store, 2, *QUEUES)
    sign_in(store, 3, kind="beat")
    found = workers.query_workers(livecheck)
    assert [(one.queues, one.pool) for one in found] == [(("celery",), "prefork"), (QUEUES, "thread")]
    [finding] = workers.judge_workers(found, "livecheck", QUEUES, COMMANDS)
    assert (finding.ok, finding.found) == (True, "2 workers are named celery@one")
    assert "-n" in finding.fix
    killed = replace(found[1], age=34.0)
    assert list(workers.judge_workers([found[0], killed], "livecheck", QUEUES, COMMANDS)) == []


def test_process_with_two_livechecks_is_one_worker_and_one_clock(
    livecheck: LiveCheck, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As LiveCheck's own app, beside the LiveCheck of the module that declares the cases."""
    monkeypatch.undo()
    for one in ("own", "module"):
        process = RunningProcess(
            one, "worker", "celery@one", "host", 7, queues=QUEUES, pool="thread", clock_offset=7200
        )
        store.liveness.sign_in(process)
    found = workers.query_workers(livecheck)
    assert [one.queues for one in found] == [QUEUES]
    assert list(workers.judge_workers(found, "livecheck", QUEUES, COMMANDS)) == []
    [finding] = [one for one in check_clocks(livecheck) if not one.ok]
    assert finding.found.startswith("worker celery@one on host is 2 h ahead of Redis")


def test_worker_that_was_killed_is_not_counted(
    livecheck: LiveCheck, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    sign_in(store, 1, *QUEUES)
    monkeypatch.setattr(workers, "MAX_AGE", 0.0)
    assert [finding.ok for finding in workers.check_workers(livecheck, COMMANDS)] == [False, False]


def test_call_with_timeout_returns_or_raises_the_result() -> None:
    assert workers.call_with_timeout(5, lambda: 42) == 42
    with pytest.raises(ZeroDivisionError):
        workers.call_with_timeout(5, lambda: 1 // 0)
