"""A LiveCheck starts and stops with the workers of its app."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from celery.concurrency.prefork import TaskPool as ProcessPool
from celery.concurrency.thread import TaskPool as ThreadPool

from livecheck_celery import Case, ConfigurationError, LiveCheck, RedisTooOld, RedisUnavailable
from livecheck_celery.store import Store
from livecheck_celery.store.liveness import SIGN_TTL
from livecheck_celery.tasks.lifecycle import Lifecycle, import_cases
from livecheck_celery.tasks.presence import Presence


def make_lifecycle(*livechecks: LiveCheck) -> Lifecycle:
    return Lifecycle(livechecks[0].app, livechecks)


def worker_of(app: Celery, *queues: str) -> Any:
    """The sender of a worker's signals, consuming ``queues``."""
    app.amqp.queues.select(queues)
    return SimpleNamespace(app=app, consumer=SimpleNamespace(shutdown=list), hostname="celery@here")


@pytest.fixture
def other(livecheck: LiveCheck, store: Store) -> Iterator[LiveCheck]:
    """Another LiveCheck on the same app, with its own queues."""
    other = LiveCheck(livecheck.app, redis_url="redis://127.0.0.1:1/0", queue="other", schedule_queue="other.schedule")
    other.runtime.store = other.runtime.request_store = store
    yield other
    other.close()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that can be imported, and counts how often it is."""
    name = f"cases_{uuid4().hex}"
    (tmp_path / f"{name}.py").write_text("imported = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    return name


# -- modules of cases


def test_modules_of_cases_are_imported_and_the_beat_entries_added_again(livecheck: LiveCheck, module: str) -> None:
    livecheck.settings = livecheck.settings.model_copy(update={"cases": (module,)})
    livecheck.add_case(Case, name="c", frequency=30.0)
    livecheck.app.conf.beat_schedule = {}
    make_lifecycle(livecheck).load_cases(sender=livecheck.app)
    assert module in sys.modules
    assert {"livecheck:recover", "livecheck:stalled", "livecheck:c:frequency"} == set(livecheck.app.conf.beat_schedule)


def test_case_of_two_livechecks_on_one_app_is_an_error_of_one_line(livecheck: LiveCheck, other: LiveCheck) -> None:
    for each in (livecheck, other):
        each.add_case(type("test_order", (Case,), {}), name="shop.test_order")
    message = r"^case shop.test_order: name: declared by 2 LiveChecks of the Celery app '\w+'; give each of these cases"
    with pytest.raises(ConfigurationError, match=message):
        make_lifecycle(livecheck, other).load_cases(livecheck.app)


def test_wrong_setting_of_a_livecheck_that_a_module_makes_is_an_error(
    livecheck: LiveCheck, module: str, tmp_path: Path
) -> None:
    livechecks = [livecheck]
    livecheck.settings = livecheck.settings.model_copy(update={"cases": (module,)})
    (tmp_path / f"{module}.py").write_text(f"from {__name__} import MADE\nMADE()\n")

    def make() -> None:
        made = LiveCheck(livecheck.app)
        made.refuse_settings(ConfigurationError("case t: test_expires: wrong"))
        livechecks.append(made)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[__name__], "MADE", make, raising=False)
        with pytest.raises(ConfigurationError, match="case t: test_expires: wrong"):
            Lifecycle(livecheck.app, livechecks).load_cases(sender=livecheck.app)


def test_beat_refuses_to_start_with_a_wrong_setting(livecheck: LiveCheck) -> None:
    livecheck.refuse_settings(ConfigurationError("case t: test_expires: wrong"))
    with pytest.raises(SystemExit, match="^LiveCheck: case t: test_expires: wrong$"):
        make_lifecycle(livecheck).start_beat(sender=SimpleNamespace(app=livecheck.app, scheduler=None))


def test_modules_are_not_imported_for_another_app(livecheck: LiveCheck, module: str) -> None:
    livecheck.settings = livecheck.settings.model_copy(update={"cases": (module,)})
    make_lifecycle(livecheck).load_cases(sender=Celery("another", set_as_current=False))
    assert module not in sys.modules


def test_module_that_cannot_be_imported_is_an_error_that_names_it(livecheck: LiveCheck) -> None:
    livecheck.settings = livecheck.settings.model_copy(update={"cases": ("shop.nowhere",)})
    with pytest.raises(ConfigurationError, match=r"LiveCheck: cases: cannot import module 'shop\.nowhere': No module"):
        import_cases(livecheck)


# -- start


def test_worker_can_consume_the_queues_by_name_where_celery_creates_none(livecheck: LiveCheck) -> None:
    app = livecheck.app
    app.conf.task_create_missing_queues = False
    lifecycle = make_lifecycle(livecheck)
    lifecycle.declare_queues(instance=SimpleNamespace(app=Celery("another", set_as_current=False)))
    with pytest.raises(KeyError):
        app.amqp.queues.select(["livecheck", "livecheck.schedule"])
    lifecycle.declare_queues(instance=SimpleNamespace(app=app))
    app.amqp.queues.select(["livecheck", "livecheck.schedule"])
    assert set(app.amqp.queues.consume_from) == {"livecheck", "livecheck.schedule"}


@pytest.mark.parametrize("queue", ["livecheck", "livecheck.schedule"])
def test_worker_registers_the_cases_of_the_queues_it_consumes(
    livecheck: LiveCheck, other: LiveCheck, queue: str
) -> None:
    livecheck.add_case(Case, name="mine")
    other.add_case(Case, name="others")
    make_lifecycle(livecheck, other).start(sender=worker_of(livecheck.app, queue, "celery"))
    assert livecheck.registers
    assert not other.registers
    assert livecheck.runtime.store.registry.cases().keys() == {"mine"}


def test_ordinary_worker_registers_no_cases(livecheck: LiveCheck) -> None:
    livecheck.add_case(Case, name="c")
    make_lifecycle(livecheck).start(sender=worker_of(livecheck.app, "celery"))
    assert not livecheck.registers


def test_worker_of_another_app_is_ignored(livecheck: LiveCheck) -> None:
    livecheck.app.amqp.queues.select(["livecheck"])
    make_lifecycle(livecheck).start(sender=worker_of(Celery("another", set_as_current=False), "livecheck"))
    assert not livecheck.registers


def test_worker_refuses_to_start_on_an_error_of_livecheck(
    livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RedisTooOld("Redis 5.0 is too old")

    monkeypatch.setattr(livecheck.runtime.store, "check", fail)
    with pytest.raises(SystemExit, match=r"^LiveCheck: Redis 5\.0 is too old$"):
        make_lifecycle(livecheck).start(sender=worker_of(livecheck.app, "livecheck"))


def test_worker_refuses_to_start_under_python_o() -> None:
    code = (
        "from types import SimpleNamespace\n"
        "from celery import Celery\n"
        "from livecheck_celery import LiveCheck\n"
        "from livecheck_celery.tasks.lifecycle import Lifecycle\n"
        "app = Celery('shop', broker='redis://127.0.0.1:1/0', set_as_current=False)\n"
        "app.amqp.queues.select(['livecheck'])\n"
        "Lifecycle(app, [LiveCheck(app)]).start(sender=SimpleNamespace(app=app))\n"
    )
    done = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("LiveCheck: refusing to start under python -O: ")


def test_outbox_starts_with_the_worker_except_in_one_that_forks(livecheck: LiveCheck) -> None:
    lifecycle = make_lifecycle(livecheck)
    lifecycle.start_outbox_unless_forking(sender=SimpleNamespace(pool=ProcessPool(1)))
    assert not livecheck.runtime.outbox.running
    lifecycle.start_outbox_unless_forking(sender=SimpleNamespace(pool=ThreadPool(1)))
    assert livecheck.runtime.outbox.running


def test_outbox_starts_in_each_process_of_a_pool(livecheck: LiveCheck) -> None:
    make_lifecycle(livecheck).start_outbox()
    assert livecheck.runtime.outbox.running


def test_worker_says_at_its_start_what_it_runs(livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(sys, "__stdout__", shown)
    for number in range(12):
        livecheck.add_case(Case, name=f"shop.test_{number:02}")
    worker = worker_of(livecheck.app, "livecheck")
    make_lifecycle(livecheck).start(sender=worker)
    first, cases, queues, state = shown.getvalue().splitlines()
    assert first.startswith("LiveCheck ")
    assert cases.startswith("  cases   shop.test_00, shop.test_01, ")
    assert cases.endswith(", shop.test_09 and 2 more")
    assert queues == "  queues  livecheck, livecheck.schedule"
    assert state == "  state   redis://127.0.0.1:1/0, prefix livecheck"
    worker.quiet = True
    make_lifecycle(livecheck).start(sender=worker)
    assert len(shown.getvalue().splitlines()) == 4, "celery --quiet"


def test_livecheck_without_cases_is_not_shown_beside_one_with_cases(
    livecheck: LiveCheck, other: LiveCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As LiveCheck's own app, when a module with cases makes a LiveCheck of its own."""
    shown = io.StringIO()
    monkeypatch.setattr(sys, "__stdout__", shown)
    worker = worker_of(livecheck.app, "livecheck", "other")
    make_lifecycle(livecheck, other).start(sender=worker)
    assert shown.getvalue().count("  cases   none: import the modules") == 1
    other.add_case(Case, name="c")
    shown.truncate(0)
    make_lifecycle(livecheck, other).start(sender=worker)
    assert shown.getvalue().count("  cases   ") == 1
    assert "  cases   c\n" in shown.getvalue()


def test_worker_gives_signs_of_life_until_it_stops(livecheck: LiveCheck, store: Store) -> None:
    livecheck.add_case(Case, name="c")
    lifecycle, worker = make_lifecycle(livecheck), worker_of(livecheck.app, "livecheck", "celery")
    lifecycle.start(sender=worker)
    [found] = store.liveness.processes()
    assert (found.kind, found.name, found.pid, found.queues) == (
        "worker",
        "celery@here",
        os.getpid(),
        ("celery", "livecheck"),
    )
    assert found.clock_offset == pytest.approx(0, abs=0.5)
    assert store.liveness.declared_cases([found]) == {"c"}
    repeated: list[tuple[float, Any]] = []
    timer = SimpleNamespace(call_repeatedly=lambda *call: repeated.append(call))
    lifecycle.repeat_signs_of_life(sender=SimpleNamespace(app=livecheck.app, pool=ThreadPool(1), timer=timer))
    assert [one.pool for one in store.liveness.processes()] == ["thread"]
    livecheck.add_case(Case, name="declared later")
    [(every, sign_in)] = repeated
    sign_in()
    assert every <= SIGN_TTL / 4, "a lost sign or two must not end a process"
    assert store.liveness.declared_cases(store.liveness.processes()) == {"c", "declared later"}
    lifecycle.stop(sender=worker)
    assert store.liveness.processes() == []


def test_worker_that_exits_without_redis_closes_its_livecheck(
    livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: str) -> None:
        raise RedisUnavailable("refused")

    lifecycle = make_lifecycle(livecheck)
    worker = worker_of(livecheck.app, "livecheck")
    lifecycle.start(sender=worker)
    monkeypatch.setattr(livecheck.runtime.request_store.liveness, "sign_off", fail)
    closed: list[bool] = []
    monkeypatch.setattr(livecheck.runtime, "close", lambda: closed.append(True))
    lifecycle.stop(sender=worker)
    assert closed == [True]


def test_worker_with_redis_gone_logs_its_missing_sign_of_life_once(
    livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RedisUnavailable("refused")

    monkeypatch.setattr(livecheck.runtime.request_store.liveness, "clock_offset", fail)
    presence = Presence(livecheck, "worker", "celery@here")
    presence.sign_in()
    presence.sign_in()
    assert caplog.messages == ["presence: sign of life not recorded: refused"]


def test_messages_that_expired_in_the_queue_are_counted(livecheck: LiveCheck, store: Store) -> None:
    lifecycle = make_lifecycle(livecheck)
    lifecycle.start(sender=worker_of(livecheck.app, "livecheck"))
    recover = livecheck.app.tasks["livecheck.recover"]
    lifecycle.count_expired(sender=recover, expired=True)
    lifecycle.count_expired(sender=recover, expired=False, terminated=True)
    lifecycle.count_expired(sender=SimpleNamespace(app=livecheck.app, name="shop.send"), expired=True)
    assert livecheck.runtime.outbox._uncounted == {"messages expired: livecheck.recover": 1}


# -- stop


def test_stopping_worker_interrupts_its_livechecks_after_the_grace_period(
    livecheck: LiveCheck, other: LiveCheck
) -> None:
    lifecycle = make_lifecycle(livecheck, other)
    worker = worker_of(livecheck.app, "livecheck")
    lifecycle.start(sender=worker)
    lifecycle.interrupt()
    assert not livecheck.runtime.interruption.is_requested, "the worker has not started"
    lifecycle.worker_started(worker)
    lifecycle.interrupt()
    remaining = livecheck.runtime.interruption.remaining
    assert remaining == pytest.approx(livecheck.settings.shutdown_timeout, abs=1.0)
    lifecycle.worker_stops(worker)
    assert livecheck.runtime.interruption.remaining <= remaining, "a second request does not prolong the grace period"
    assert not other.runtime.interruption.is_requested


def test_cold_shutdown_interrupts_at_once(livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    lifecycle = make_lifecycle(livecheck)
    worker = worker_of(livecheck.app, "livecheck")
    lifecycle.start(sender=worker)
    lifecycle.worker_started(worker)
    monkeypatch.setattr("celery.worker.state.should_terminate", 1)
    lifecycle.worker_stops(worker)
    assert livecheck.runtime.interruption.is_due


def test_stopped_worker_closes_its_livechecks(
    livecheck: LiveCheck, other: LiveCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    lifecycle = make_lifecycle(livecheck, other)
    worker = worker_of(livecheck.app, "livecheck")
    lifecycle.start(sender=worker)
    closed: list[str] = []
    monkeypatch.setattr(livecheck, "close", lambda: closed.append("mine"))
    monkeypatch.setattr(other, "close", lambda: closed.append("others"))
    lifecycle.stop(sender=SimpleNamespace(app=Celery("another", set_as_current=False)))
    assert closed == []
    monkeypatch.setattr("livecheck_celery.tasks.lifecycle.owns_process", lambda worker: True)
    lifecycle.stop(sender=worker)
    assert closed == ["mine"]
    monkeypatch.undo()


def test_worker_that_terminates_waits_until_its_tests_are_handed_back(
    livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    lifecycle, worker = make_lifecycle(livecheck), worker_of(livecheck.app, "livecheck")
    lifecycle.start(sender=worker)
    held, steps = [[("c", "o-1", "t")], [("c", "o-1", "t")], []], list[str]()

    class Leases:
        @property
        def held(self) -> list[Any]:
            steps.append("asked")
            return held.pop(0)

    with monkeypatch.context() as patch:
        patch.setattr(livecheck.runtime, "leases", Leases())
        patch.setattr(livecheck.runtime, "close", lambda: steps.append("closed"))
        lifecycle.worker_terminates(worker)
    assert steps == ["asked", "asked", "asked", "closed"]


def test_worker_that_terminates_closes_although_a_test_is_not_handed_back(
    livecheck: LiveCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    lifecycle, worker = make_lifecycle(livecheck), worker_of(livecheck.app, "livecheck")
    lifecycle.start(sender=worker)
    closed: list[bool] = []
    with monkeypatch.context() as patch:
        patch.setattr("livecheck_celery.tasks.lifecycle._HAND_BACK", 0.1)
        patch.setattr(livecheck.runtime, "leases", SimpleNamespace(held=[("c", "o-1", "t")]))
        patch.setattr(livecheck.runtime, "close", lambda: closed.append(True))
        lifecycle.worker_terminates(worker)
    assert closed == [True]


# -- beat


def test_beat_gives_signs_of_life_when_the_broker_accepts_its_messages(livecheck: LiveCheck, store: Store) -> None:
    lifecycle = make_lifecycle(livecheck)
    lifecycle.start_beat(sender=SimpleNamespace(app=livecheck.app, scheduler=SimpleNamespace(schedule={})))
    assert store.liveness.processes() == [], "a beat can wait for another one to exit"
    lifecycle.beat_alive()
    [found] = store.liveness.processes()
    assert (found.kind, found.name) == ("beat", socket.gethostname())
    first = store.client.zscore(store.keys.seen, found.id)
    lifecycle.beat_alive()
    assert store.client.zscore(store.keys.seen, found.id) == first, "beat sends a message every few seconds"


def test_sign_of_life_that_cannot_be_recorded_is_logged(
    livecheck: LiveCheck, other: LiveCheck, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RedisUnavailable("refused")

    seen: list[str] = []
    monkeypatch.setattr(livecheck.runtime, "store", SimpleNamespace(liveness=SimpleNamespace(beat_seen=fail)))
    monkeypatch.setattr(
        other.runtime, "store", SimpleNamespace(liveness=SimpleNamespace(beat_seen=lambda: seen.append("other")))
    )
    make_lifecycle(livecheck, other).beat_alive()
    assert caplog.messages == ["beat: sign of life not recorded: refused"]
    assert seen == ["other"]
