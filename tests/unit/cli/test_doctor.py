"""``doctor``: each finding, and its bounds in time."""

from __future__ import annotations

import sys
import threading
import time
from types import ModuleType
from typing import Any

import pytest
import redis
from celery import Celery
from click.testing import CliRunner, Result

from livecheck_celery import LiveCheck, cli
from livecheck_celery.cli import doctor
from livecheck_celery.cli.doctor import Commands, Worker
from livecheck_celery.store import Store
from tests.helpers.factories import make_settings

COMMANDS = Commands("celery worker", "celery beat")
OURS = ("livecheck", "livecheck.schedule")
THREADS = "celery.concurrency.thread:TaskPool"
PREFORK = "celery.concurrency.prefork:TaskPool"


def worker(*queues: str, pool: str = THREADS) -> Worker:
    return Worker("celery@one", frozenset(queues), pool)


def run() -> Result:
    return CliRunner().invoke(cli.livecheck, ("-A", "shop_app", "doctor"))


@pytest.fixture
def suite(store: Store, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> LiveCheck:
    """What ``-A shop_app`` names; all is well with it."""
    suite = LiveCheck(Celery("shop", broker="memory://", set_as_current=False), redis_url="redis://fake:6379/0")
    suite.runtime.store = store
    module = ModuleType("shop_app")
    module.app = suite.app
    monkeypatch.setitem(sys.modules, "shop_app", module)
    monkeypatch.delenv("PYTHONOPTIMIZE", raising=False)
    monkeypatch.setattr(redis_client, "info", lambda _: {"redis_version": "7.4.1"})
    monkeypatch.setattr(doctor, "ask_workers", lambda _: [worker(*OURS)])
    store.liveness.beat_seen()
    store.liveness.schedules_seen()
    return suite


def lines(result: Result) -> dict[str, list[str]]:
    """The lines by what they are about."""
    found: dict[str, list[str]] = {}
    for line in result.stdout.splitlines():
        verdict, what, text = line.split("  ", 1)[0], *line[7:].split("  ", 1)
        found.setdefault(what.strip(), []).append(f"{verdict.strip()}: {text.strip()}")
    return found


def test_when_all_is_well_each_line_says_so(suite: LiveCheck) -> None:
    result = run()
    assert result.exit_code == 0, result.output
    assert lines(result) == {
        "python -O": ["ok: off"],
        "redis": ["ok: Redis 7.4.1 at redis://fake:6379/0"],
        "broker": ["ok: memory://"],
        "queue": ["ok: livecheck: consumed by celery@one", "ok: livecheck.schedule: consumed by celery@one"],
        "beat": ["ok: alive 0 s ago"],
        "schedules": ["ok: executed 0 s ago"],
        "clock": [lines(result)["clock"][0]],
        "http": [
            (
                "ok: no secret_key, so no test is sent or accepted over HTTP; "
                "set livecheck_secret_key, the same in every service, if they are to"
            )
        ],
        "outbox": ["ok: nothing dropped or ignored in the last day"],
    }
    assert lines(result)["clock"][0].startswith("ok: 0.")


def test_where_tests_are_carried_over_http_is_said(suite: LiveCheck) -> None:
    suite.settings = make_settings("redis://fake:6379/0", secret_key="k", http_hosts="shop,stock")
    assert lines(run())["http"] == ["ok: tests are signed, and carried to shop, stock"]


@pytest.mark.promise("`livecheck doctor` shows what was dropped or ignored in the last day.", theme="requests")
def test_what_was_dropped_and_ignored_is_told_and_not_wrong(suite: LiveCheck) -> None:
    suite.runtime.store.counters.add({"dropped: redis": 3, "headers ignored: forged": 1})
    result = run()
    assert result.exit_code == 0
    [line] = lines(result)["outbox"]
    assert line.startswith("ok: since 0 s ago: dropped: redis 3, headers ignored: forged 1; the log of the processes")


def test_a_queue_nobody_consumes_is_wrong_with_the_mend(suite: LiveCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ask_workers", lambda _: [worker("livecheck.schedule", "celery")])
    result = run()
    assert result.exit_code == 1
    tests, schedule = lines(result)["queue"]
    assert tests.startswith("wrong: livecheck: no worker consumes it; start one: celery -A shop_app worker ")
    assert tests.endswith(" -Q livecheck,livecheck.schedule -P threads -c 100")
    assert schedule == "ok: livecheck.schedule: consumed by celery@one"


def test_beat_that_was_never_seen_is_wrong_with_the_mend(suite: LiveCheck, redis_client: redis.Redis) -> None:
    redis_client.flushall()
    result = run()
    assert result.exit_code == 1
    assert lines(result)["beat"] == ["wrong: no sign of life in the last 2 minutes; start it: celery -A shop_app beat"]


def test_beat_that_fell_silent_is_wrong(suite: LiveCheck, store: Store, redis_client: redis.Redis) -> None:
    redis_client.set(store.keys.beat, store.time() - 61, ex=9)
    result = run()
    assert result.exit_code == 1
    assert lines(result)["beat"] == ["wrong: last seen 61 s ago; start it: celery -A shop_app beat"]
    assert lines(result)["schedules"] == ["ok: executed 0 s ago"]


def test_schedules_that_no_worker_executes_are_wrong(suite: LiveCheck, store: Store, redis_client: redis.Redis) -> None:
    redis_client.delete(store.keys.schedules)
    result = run()
    assert result.exit_code == 1
    assert lines(result)["schedules"] == [
        "wrong: no sign of life in the last 2 minutes; they need beat, and a worker that consumes livecheck.schedule"
    ]


def test_redis_that_does_not_answer_is_wrong_and_the_rest_is_looked_at(
    suite: LiveCheck, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> Any:
        raise redis.ConnectionError("refused")

    monkeypatch.setattr(redis_client, "info", refuse)
    result = run()
    assert result.exit_code == 1
    found = lines(result)
    assert found["redis"][0].startswith("wrong: Redis at redis://fake:6379/0 did not answer")
    assert found["broker"] == ["ok: memory://"]
    assert found["beat"] == found["schedules"] == found["clock"] == ["wrong: unknown without Redis"]


def test_a_redis_that_is_too_old_is_wrong(
    suite: LiveCheck, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_client, "info", lambda _: {"redis_version": "5.0.7"})
    assert lines(run())["redis"] == ["wrong: Redis at redis://fake:6379/0 is 5.0.7; LiveCheck needs 6.2 or newer"]


def test_a_broker_that_refuses_is_wrong_and_its_password_stays_hidden(suite: LiveCheck) -> None:
    suite.settings = suite.settings.model_copy(update={"broker_url": "redis://:hunter2@127.0.0.1:1/0"})
    result = run()
    assert result.exit_code == 1
    found = lines(result)
    assert found["broker"][0].startswith("wrong: redis://127.0.0.1:1/0 did not answer (Error 111 connecting")
    assert found["queue"] == [f"wrong: {name}: unknown without the broker" for name in OURS]
    assert "hunter2" not in result.output


def test_a_broker_that_is_silent_is_given_up(suite: LiveCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PATIENCE", 0.05)
    hung, over = threading.Event(), threading.Event()

    def hang(_: Any, **__: Any) -> Any:
        hung.set()
        over.wait(10)

    monkeypatch.setattr("kombu.Connection.ensure_connection", hang)
    started = time.monotonic()
    finding = doctor.check_broker(suite)
    over.set()
    assert hung.is_set()
    assert time.monotonic() - started < 5
    assert not finding.well
    assert "silent for 0.05 s" in finding.found


def test_workers_that_cannot_be_asked_are_said(suite: LiveCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Any) -> Any:
        raise OSError("connection reset")

    monkeypatch.setattr(doctor, "ask_workers", refuse)
    assert lines(run())["queue"][0] == (
        "wrong: livecheck: the workers could not be asked (connection reset); try again"
    )


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (worker(*OURS), []),
        (worker("celery", "livecheck.schedule", pool=PREFORK), []),
        (worker("celery", *OURS), ["celery@one also consumes celery,"]),
        (worker(*OURS, pool=PREFORK), ["celery@one runs tests in a prefork pool"]),
        (worker("livecheck", "mail", "celery", pool=PREFORK), ["also consumes celery, mail,", "in a prefork pool"]),
    ],
)
def test_workers_that_should_not_run_tests_are_said(one: Worker, words: list[str]) -> None:
    findings = list(doctor.judge_workers([one], "livecheck", OURS, COMMANDS))
    assert len(findings) == len(words)
    for finding, said in zip(findings, words, strict=True):
        assert not finding.well
        assert said in finding.found
        assert "celery worker" in finding.mend


def test_workers_that_share_a_name_are_told_apart(suite: LiveCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    queues = [[{"name": "celery"}], [{"name": name} for name in OURS]]
    answers = {
        "active_queues": [{"celery@one": consumed} for consumed in queues],
        "stats": [{"celery@one": {"pool": {"implementation": pool}}} for pool in (PREFORK, THREADS)],
    }
    monkeypatch.undo()
    monkeypatch.setattr(suite.app.control, "broadcast", lambda command, **_: answers[command])
    workers = doctor.ask_workers(suite)
    assert workers == [worker("celery", pool=""), worker(*OURS, pool="")]
    [finding] = doctor.judge_workers(workers, "livecheck", OURS, COMMANDS)
    assert (finding.well, finding.found) == (True, "2 workers are called celery@one")
    assert "-n" in finding.mend


@pytest.mark.parametrize("answered", [None, []])
def test_no_worker_at_all_answers(suite: LiveCheck, monkeypatch: pytest.MonkeyPatch, answered: Any) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(suite.app.control, "broadcast", lambda *_, **__: answered)
    assert doctor.ask_workers(suite) == []


@pytest.mark.parametrize(("skew", "words"), [(30.0, "30.0 s behind Redis"), (-30.0, "30.0 s ahead of Redis")])
def test_clocks_that_differ_are_said(
    suite: LiveCheck, store: Store, monkeypatch: pytest.MonkeyPatch, skew: float, words: str
) -> None:
    monkeypatch.setattr(store, "time", lambda: time.time() + skew)
    finding = doctor.check_clock(suite)
    assert not finding.well
    assert words in finding.found


@pytest.mark.parametrize(("level", "variable", "well"), [(0, "", True), (1, "", False), (0, "1", False)])
def test_optimization_that_removes_asserts_is_wrong(level: int, variable: str, well: bool) -> None:
    assert doctor.check_optimization(level, variable).well is well


def test_what_is_done_in_time_is_returned_or_raised() -> None:
    assert doctor.within(5, lambda: 42) == 42
    with pytest.raises(ZeroDivisionError):
        doctor.within(5, lambda: 1 // 0)


def test_the_mend_for_the_packages_own_app_names_the_module_with_the_cases(
    suite: LiveCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "default_app", lambda: suite.app)
    assert doctor.commands_for(suite, None) == Commands(
        "celery -A livecheck_celery worker", "celery -A livecheck_celery beat"
    )
    assert doctor.commands_for(suite, "shop.checks:livecheck").worker == (
        "LIVECHECK_CASES=shop.checks celery -A livecheck_celery worker"
    )
