"""``doctor``: each finding, and its timeouts."""

from __future__ import annotations

import inspect
import re
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import redis
from celery import Celery
from click.testing import Result

from livecheck_celery import Case, LiveCheck, RedisUnavailable, cli
from livecheck_celery.cli import celery_commands, doctor
from livecheck_celery.cli.celery_commands import Commands, Program, commands_for
from livecheck_celery.cli.doctor import workers
from livecheck_celery.cli.doctor.redis import check_clocks
from livecheck_celery.models import OLD_MARK, UNACKNOWLEDGED
from livecheck_celery.propagation import gate
from livecheck_celery.store import Store
from livecheck_celery.store.counters import FOREIGN, IGNORED, ServiceCount
from livecheck_celery.store.liveness import RunningProcess
from livecheck_celery.utils.signing import key_id
from tests.helpers.cli_runner import invoke
from tests.helpers.factories import make_settings
from tests.helpers.http_server import KEY

ROOT = Path(__file__).parents[3]
COMMANDS = Commands(Program("shop", ("worker",)), Program("shop", ("beat",)))
QUEUES = ("livecheck", "livecheck.schedule")


def worker(*queues: str, pool: str = "thread", age: float = 3.0) -> RunningProcess:
    return RunningProcess("id", "worker", "celery@one", "host", 7, queues=queues, pool=pool, age=age)


def run() -> Result:
    return invoke(cli.livecheck, ("-A", "shop_app", "doctor"))


@pytest.fixture
def livecheck(store: Store, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> LiveCheck:
    """The instance that ``-A shop_app`` selects, without any problem."""
    livecheck = LiveCheck(Celery("shop", broker="memory://", set_as_current=False), redis_url="redis://fake:6379/0")
    livecheck.runtime.store = store
    module = ModuleType("shop_app")
    module.app = livecheck.app
    monkeypatch.setitem(sys.modules, "shop_app", module)
    monkeypatch.delenv("PYTHONOPTIMIZE", raising=False)
    monkeypatch.setattr(redis_client, "info", lambda _: {"redis_version": "7.4.1"})
    monkeypatch.setattr(workers, "query_workers", lambda _: [worker(*QUEUES)])
    store.liveness.beat_seen()
    store.liveness.schedules_seen()
    return livecheck


def lines(result: Result) -> dict[str, list[str]]:
    """Return the output lines by subject."""
    found: dict[str, list[str]] = {}
    for line in result.stdout.splitlines():
        verdict, what, text = line.split("  ", 1)[0], *line[7:].split("  ", 1)
        found.setdefault(what.strip(), []).append(f"{verdict.strip()}: {text.strip()}")
    return found


def test_every_check_can_pass(livecheck: LiveCheck) -> None:
    result = run()
    assert result.exit_code == 0, result.output
    assert lines(result) == {
        "python -O": ["ok: off"],
        "redis": ["ok: Redis 7.4.1 at redis://fake:6379/0"],
        "broker": ["ok: memory://"],
        "queue": [f"ok: {name}: consumed by celery@one, seen 3 s ago" for name in QUEUES],
        "beat": ["ok: last seen 0 s ago"],
        "schedules": ["ok: last executed 0 s ago"],
        "clock": [lines(result)["clock"][0]],
        "http": [
            (
                "warn: secret_key is not set: no test is sent or accepted over HTTP; "
                "to follow tests over HTTP, set livecheck_secret_key to one key in every service; run: livecheck secret"
            )
        ],
        "outbox": ["ok: nothing dropped or ignored in the last day"],
        "data": ["ok: every value in Redis can be read"],
    }
    assert lines(result)["clock"][0].startswith("ok: this machine differs from Redis by 0.")


def test_messages_of_another_environment_are_a_warning(livecheck: LiveCheck) -> None:
    livecheck.runtime.store.counters.add({"foreign messages": 3})
    line = lines(run())["queue"][-1]
    assert line.startswith("warn: workers refused 3 messages of another environment on the broker in the last ")
    assert lines(run())["outbox"] == ["ok: nothing dropped in the last day"]


def test_messages_that_no_worker_had_are_a_warning(livecheck: LiveCheck) -> None:
    livecheck.runtime.store.counters.add({"messages sent again": 3})
    line = lines(run())["queue"][-1]
    assert line.startswith("warn: 3 messages of tests were sent again in the last ")
    assert "another program consumes the queue" in line
    assert lines(run())["outbox"] == ["ok: nothing dropped in the last day"]


def test_http_hosts_are_listed(livecheck: LiveCheck) -> None:
    livecheck.settings = make_settings("redis://fake:6379/0", secret_key=KEY, http_hosts="shop,stock")
    assert lines(run())["http"] == [f"ok: tests are signed with key {key_id(KEY)}, and sent to shop, stock"]


def test_ids_of_all_keys_are_shown_but_no_key(livecheck: LiveCheck) -> None:
    old, older = "b" * 32, "c" * 32
    livecheck.settings = make_settings("redis://fake:6379/0", secret_key=[KEY, old, older], http_hosts="shop")
    result = run()
    ids = f"{key_id(KEY)}, and accepted with {key_id(old)}, {key_id(older)} too"
    assert lines(result)["http"] == [f"ok: tests are signed with key {ids}, and sent to shop"]
    assert not any(key in result.output for key in (KEY, old, older))


@pytest.mark.promise("`livecheck doctor` shows what was dropped or ignored in the last day.", theme="requests")
def test_dropped_and_ignored_items_are_listed_without_an_error(livecheck: LiveCheck) -> None:
    livecheck.runtime.store.counters.add({"dropped: redis": 3, "headers ignored: forged": 1})
    result = run()
    assert result.exit_code == 0
    [line] = lines(result)["outbox"]
    assert re.match(
        r"warn: in the last \d s: dropped: redis 3, headers ignored: forged 1; last \d s ago; the logs ", line
    )


@pytest.mark.promise(
    "`livecheck doctor` names the service with another secret key, and what fixes it.", theme="propagation"
)
def test_headers_with_another_key_are_a_warning_that_names_the_service_the_reason_and_the_fix(
    livecheck: LiveCheck, store: Store
) -> None:
    unknown = ServiceCount(IGNORED, "stock@web-2", "unknown key")
    store.counters.add({"headers ignored: unknown key": 41, unknown.field: 41})
    result = run()
    assert result.exit_code == 0
    [line] = lines(result)["headers"]
    assert line.startswith("warn: stock@web-2 ignored the headers of 41 requests in the last ")
    assert re.search(
        r" \(unknown key\); last \d s ago; another service signs with a key that this one does not have: ", line
    )
    assert lines(result)["outbox"] == ["ok: nothing dropped in the last day"]


#: Every reason for which a gate ignores headers.
REASONS = sorted(set(re.findall(r'_Ignored\("(.+)"\)', inspect.getsource(gate))))


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_for_ignored_headers_is_explained_on_the_page_that_doctor_names(
    livecheck: LiveCheck, store: Store, reason: str
) -> None:
    assert len(REASONS) >= 10
    store.counters.add({ServiceCount(IGNORED, "stock", reason).field: 1})
    [line] = lines(run())["headers"]
    page = (ROOT / "docs" / "following.md").read_text()
    assert f"| `{reason}` |" in page
    assert "docs/following.md#trust" in line or "livecheck_secret_key" in line or "NTP" in line or "proxy" in line


def test_hop_that_loses_the_headers_is_named(livecheck: LiveCheck, store: Store) -> None:
    store.counters.add({ServiceCount(UNACKNOWLEDGED, "shop@web-1", "stock.internal:8000").field: 7})
    result = run()
    assert result.exit_code == 0
    [line] = lines(result)["hop"]
    assert line.startswith(
        "warn: stock.internal:8000 did not accept the tests in 7 requests of shop@web-1 in the last "
    )
    assert "install LiveCheck's middleware in it" in line


def test_service_that_takes_old_fake_requests_for_real_ones_is_named(livecheck: LiveCheck, store: Store) -> None:
    store.counters.add({ServiceCount(OLD_MARK, "shop@web-1", "stock.internal").field: 2})
    [line] = lines(run())["hop"]
    assert line.startswith("warn: stock.internal took 2 requests of shop@web-1 for real in the last ")
    assert "livecheck_max_hop_age" in line


def test_counts_of_which_the_last_is_old_are_shown_but_no_warning(
    livecheck: LiveCheck, store: Store, redis_client: redis.Redis
) -> None:
    hop, forged = (
        ServiceCount(UNACKNOWLEDGED, "shop", "stock:8000").field,
        ServiceCount(IGNORED, "stock", "forged").field,
    )
    counts = {hop: 7, forged: 2, FOREIGN: 3, "dropped: redis": 1}
    store.counters.add(counts)
    redis_client.hset(store.keys.counters, "since", store.time() - 5 * 3600)
    redis_client.hset(store.keys.counters, mapping={f"@{reason}": store.time() - 2 * 3600 for reason in counts})
    found = lines(run())
    assert found["hop"] == [
        "ok: stock:8000 did not accept the tests in 7 requests of shop in the last 5 h; last 2 h ago"
    ]
    assert found["headers"] == ["ok: stock ignored the headers of 2 requests in the last 5 h (forged); last 2 h ago"]
    assert found["queue"][-1].startswith("ok: workers refused 3 messages of another environment")
    assert found["outbox"] == ["ok: in the last 5 h: dropped: redis 1; last 2 h ago"]
    store.counters.add({hop: 1})
    assert lines(run())["hop"][0].startswith("warn: stock:8000 did not accept the tests in 8 requests of shop ")


def test_one_request_is_not_called_requests(livecheck: LiveCheck, store: Store) -> None:
    for what, detail in ((IGNORED, "forged"), (UNACKNOWLEDGED, "stock")):
        store.counters.add({ServiceCount(what, "shop", detail).field: 1})
    found = lines(run())
    assert "the headers of 1 request in the last " in found["headers"][0]
    assert "in 1 request of shop in the last " in found["hop"][0]


def test_clock_of_a_worker_or_beat_that_is_off_is_an_error_that_names_it(livecheck: LiveCheck, store: Store) -> None:
    for kind, name, offset in (("worker", "celery@a", 0.01), ("worker", "celery@b", 10800.0), ("beat", "c", -10.0)):
        store.liveness.sign_in(RunningProcess(name, kind, name, f"host-{name[-1]}", 7, clock_offset=offset))
    result = run()
    assert result.exit_code == 1
    this, beat, worker = lines(result)["clock"]
    assert this.startswith("ok: this machine differs from Redis by 0.")
    assert beat.startswith("error: beat c on host-c is 10.0 s behind Redis")
    assert worker.startswith("error: worker celery@b on host-b is 3 h ahead of Redis")
    assert worker.endswith("; synchronise both with NTP")


def test_warnings_alone_exit_with_0(
    livecheck: LiveCheck, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_client, "info", lambda _: {"redis_version": "7.4.1", "aof_enabled": 0})
    result = run()
    assert result.exit_code == 0
    [line] = lines(result)["storage"]
    assert line.startswith("warn: appendonly is off")


def test_queue_without_consumer_is_an_error(livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "query_workers", lambda _: [worker("livecheck.schedule", "celery")])
    result = run()
    assert result.exit_code == 1
    tests, schedule = lines(result)["queue"]
    assert tests.startswith("error: livecheck: no worker consumes it; start one: celery -A shop_app worker ")
    assert tests.endswith(" -Q livecheck,livecheck.schedule -P threads -c 100")
    assert schedule == "ok: livecheck.schedule: consumed by celery@one, seen 3 s ago"


def test_beat_without_any_sign_of_life_is_an_error(livecheck: LiveCheck, redis_client: redis.Redis) -> None:
    redis_client.flushall()
    result = run()
    assert result.exit_code == 1
    assert lines(result)["beat"] == ["error: not seen in the last 2 minutes; start beat: celery -A shop_app beat"]


def test_silent_beat_is_an_error(livecheck: LiveCheck, store: Store, redis_client: redis.Redis) -> None:
    redis_client.set(store.keys.beat, store.time() - 61, ex=9)
    result = run()
    assert result.exit_code == 1
    assert lines(result)["beat"] == ["error: last seen 61 s ago; start beat: celery -A shop_app beat"]
    assert lines(result)["schedules"] == ["ok: last executed 0 s ago"]


def test_schedules_without_worker_are_an_error(livecheck: LiveCheck, store: Store, redis_client: redis.Redis) -> None:
    redis_client.delete(store.keys.schedules)
    result = run()
    assert result.exit_code == 1
    assert lines(result)["schedules"] == [
        "error: not executed in the last 2 minutes; start beat, and a worker that consumes livecheck.schedule"
    ]


def test_redis_outage_is_an_error_and_other_checks_run(
    livecheck: LiveCheck, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> Any:
        raise redis.ConnectionError("refused")

    monkeypatch.setattr(redis_client, "info", refuse)
    result = run()
    assert result.exit_code == 1
    found = lines(result)
    assert found["redis"] == [
        "error: Redis at redis://fake:6379/0 did not answer (refused); is it running, and is livecheck_redis_url right?"
    ]
    assert found["broker"] == ["ok: memory://"]
    assert found["beat"] == found["schedules"] == found["clock"] == ["error: not checked: Redis is not available"]


def test_outdated_redis_is_an_error(
    livecheck: LiveCheck, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_client, "info", lambda _: {"redis_version": "5.0.7"})
    assert lines(run())["redis"] == ["error: Redis at redis://fake:6379/0 is 5.0.7; LiveCheck needs 6.2 or newer"]


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


@pytest.mark.parametrize(("skew", "words"), [(30.0, "30.0 s behind Redis"), (-30.0, "30.0 s ahead of Redis")])
def test_clock_difference_is_an_error(
    livecheck: LiveCheck, store: Store, monkeypatch: pytest.MonkeyPatch, skew: float, words: str
) -> None:
    monkeypatch.setattr(store.liveness, "clock_offset", lambda: -skew)
    [finding] = check_clocks(livecheck)
    assert not finding.ok
    assert words in finding.found


@pytest.mark.parametrize(("level", "variable", "ok"), [(0, "", True), (1, "", False), (0, "1", False)])
def test_disabled_asserts_are_an_error(level: int, variable: str, ok: bool) -> None:
    assert doctor.check_optimization(level, variable).ok is ok


def test_call_with_timeout_returns_or_raises_the_result() -> None:
    assert workers.call_with_timeout(5, lambda: 42) == 42
    with pytest.raises(ZeroDivisionError):
        workers.call_with_timeout(5, lambda: 1 // 0)


def test_commands_for_the_default_app_name_the_module_of_the_cases(
    livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(celery_commands, "default_app", lambda: livecheck.app)
    monkeypatch.delenv("LIVECHECK_CASES", raising=False)
    assert [str(one) for one in commands_for(livecheck, None)] == [
        "celery -A livecheck_celery worker",
        "celery -A livecheck_celery beat",
    ]
    worker = commands_for(livecheck, "shop.checks:livecheck").worker
    assert str(worker) == "LIVECHECK_CASES=shop.checks celery -A livecheck_celery worker"
    monkeypatch.setenv("LIVECHECK_CASES", "stock.checks,shop.checks")
    assert commands_for(livecheck, "shop.checks").worker.cases == "stock.checks,shop.checks"
