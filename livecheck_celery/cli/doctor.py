"""``doctor``: what is missing for tests to run, and the mend."""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import click
from rich.text import Text

from livecheck_celery.cli import console
from livecheck_celery.cli.doctor_redis import judge_storage
from livecheck_celery.cli.support import app_name, distinct, find_livechecks, is_silent
from livecheck_celery.default_app import default_app
from livecheck_celery.errors import LiveCheckError
from livecheck_celery.livecheck import LiveCheck
from livecheck_celery.utils.redis_urls import without_password

#: Seconds the broker, or all its workers, may take to answer; a black hole takes no longer.
PATIENCE: Final = 5.0
#: Seconds workers have for their answer to a broadcast.
REPLY_TIME: Final = 1.0
#: Seconds this machine's clock may differ from Redis'; a test's expiry travels by this machine's clock.
SKEW: Final = 2.0

T = TypeVar("T")


class Finding(NamedTuple):
    """One line: whether it is well, what was looked at, what was found, and the mend."""

    well: bool
    what: str
    found: str
    mend: str = ""


class Worker(NamedTuple):
    """What one worker says about itself."""

    name: str
    queues: frozenset[str]
    pool: str


class Commands(NamedTuple):
    """The commands that mend, for the app at hand."""

    worker: str
    beat: str


@click.command()
@click.pass_context
def doctor(ctx: click.Context) -> None:
    r"""Check what tests need, and say the mend.

    A line each: Redis and whether it may lose data, the broker, a worker on each of the two queues, beat, whether
    workers execute what it sends, the clock, python -O, whether tests cross HTTP, and what was dropped or ignored in
    the last day, which is told but is not wrong. Ends within half a minute, whatever does not answer. Exit code 1 if
    anything is wrong.

    \b
    Examples:
      livecheck -A shop doctor
      celery -A shop livecheck doctor
    """
    wrong = 0
    for finding in examine(ctx):
        wrong += not finding.well
        console.line(
            Text("ok   ", style="green") if finding.well else Text("wrong", style="bold red"),
            f"  {finding.what:<10}  {finding.found}",
            f"; {finding.mend}" if finding.mend else "",
        )
    ctx.exit(1 if wrong else 0)


def examine(ctx: click.Context) -> Iterator[Finding]:
    """Look at one thing after the other, what the others need first."""
    yield check_optimization(sys.flags.optimize, os.environ.get("PYTHONOPTIMIZE", ""))
    livechecks = find_livechecks(ctx)
    for livecheck in distinct(livechecks, "redis_url", "prefix", "broker_url", "queue", "schedule_queue"):
        commands = commands_for(livecheck, app_name(ctx))
        redis = check_redis(livecheck)
        yield redis
        if redis.well:
            yield from check_storage(livecheck)
        broker = check_broker(livecheck)
        yield broker
        yield from check_workers(livecheck, commands, reachable=broker.well)
        yield from check_schedules(livecheck, commands, reachable=redis.well)
        yield check_clock(livecheck) if redis.well else Finding(False, "clock", "unknown without Redis")
        yield check_http(livecheck)
        if redis.well:
            yield check_tally(livecheck)


def check_optimization(level: int, variable: str) -> Finding:
    """Whether ``assert`` is compiled away."""
    if level or variable:
        return Finding(
            False, "python -O", "on, so asserts vanish and no test can fail", "unset PYTHONOPTIMIZE, drop -O"
        )
    return Finding(True, "python -O", "off")


def check_redis(livecheck: LiveCheck) -> Finding:
    """Whether the Redis with the state answers and is new enough."""
    try:
        livecheck.runtime.store.check()
        server: Mapping[str, Any] = livecheck.runtime.store.client.info("server")
    except LiveCheckError as exc:
        return Finding(False, "redis", str(exc))
    name = server.get("server_name", "redis").capitalize()
    version = server.get(f"{name.lower()}_version") or server.get("redis_version", "?")
    return Finding(True, "redis", f"{name} {version} at {without_password(livecheck.settings.redis_url)}")


def check_storage(livecheck: LiveCheck) -> Iterator[Finding]:
    """Whether Redis may lose what it holds."""
    try:
        with livecheck.runtime.store.errors_translated():
            memory: Any = livecheck.runtime.store.client.info("memory")
            persistence: Any = livecheck.runtime.store.client.info("persistence")
    except LiveCheckError as exc:
        yield Finding(False, "storage", str(exc))
        return
    yield from (Finding(well, "storage", found, mend) for well, found, mend in judge_storage(memory, persistence))


def check_broker(livecheck: LiveCheck) -> Finding:
    """Whether the Celery broker answers."""
    url = without_password(livecheck.settings.broker_url)

    def connect() -> None:
        with _connection(livecheck) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)

    try:
        within(PATIENCE, connect)
    except Exception as exc:  # noqa: BLE001 - each transport has its own
        return Finding(False, "broker", f"{url} did not answer ({_first_line(exc)})", "start it, or mend broker_url")
    return Finding(True, "broker", url)


def check_workers(livecheck: LiveCheck, commands: Commands, *, reachable: bool) -> Iterator[Finding]:
    """Whether somebody consumes each queue, and nobody who should not."""
    settings = livecheck.settings
    ours = (settings.queue, settings.schedule_queue)
    if not reachable:
        yield from (Finding(False, "queue", f"{each}: unknown without the broker") for each in ours)
        return
    try:
        workers = within(PATIENCE, lambda: ask_workers(livecheck))
    except Exception as exc:  # noqa: BLE001 - as above
        yield from (
            Finding(False, "queue", f"{each}: the workers could not be asked ({_first_line(exc)})", "try again")
            for each in ours
        )
        return
    for each in ours:
        consumers = {worker.name for worker in workers if each in worker.queues}
        if consumers:
            yield Finding(True, "queue", f"{each}: consumed by {', '.join(sorted(consumers))}")
        else:
            yield Finding(False, "queue", f"{each}: no worker consumes it", f"start one: {commands.worker}")
    yield from judge_workers(workers, settings.queue, ours, commands)


def judge_workers(
    workers: Sequence[Worker], test_queue: str, ours: Sequence[str], commands: Commands
) -> Iterator[Finding]:
    """What is wrong with the workers that run tests."""
    for name, count in Counter(worker.name for worker in workers).items():
        if count > 1:
            mend = "give each its own with -n, so that they can be told apart"
            yield Finding(True, "worker", f"{count} workers are called {name}", mend)
    for worker in workers:
        if test_queue not in worker.queues:
            continue
        others = sorted(worker.queues.difference(ours))
        if others:
            yield Finding(
                False,
                "worker",
                f"{worker.name} also consumes {', '.join(others)}, and waiting tests hold the slots of its tasks",
                f"start one for LiveCheck's queues alone: {commands.worker}",
            )
        if "prefork" in worker.pool:
            yield Finding(
                False,
                "worker",
                f"{worker.name} runs tests in a prefork pool, where each waiting test holds a process",
                f"start it with threads: {commands.worker}",
            )


def check_schedules(livecheck: LiveCheck, commands: Commands, *, reachable: bool) -> Iterator[Finding]:
    """Whether beat sends, and workers execute what it sends: fake requests, the stalled check and recovery."""
    if not reachable:
        yield from (Finding(False, what, "unknown without Redis") for what in ("beat", "schedules"))
        return
    try:
        signs = livecheck.runtime.store.liveness.read()
    except LiveCheckError as exc:
        yield Finding(False, "beat", str(exc))
        return
    queue = livecheck.settings.schedule_queue
    for what, silent, well, mend in (
        ("beat", signs.beat, "alive", f"start it: {commands.beat}"),
        ("schedules", signs.schedules, "executed", f"they need beat, and a worker that consumes {queue}"),
    ):
        if is_silent(silent):
            since = "no sign of life in the last 2 minutes" if silent is None else f"last seen {console.age(silent)}"
            yield Finding(False, what, since, mend)
        else:
            yield Finding(True, what, f"{well} {console.age(silent)}")


def check_clock(livecheck: LiveCheck) -> Finding:
    """Whether this machine's clock agrees with Redis'."""
    try:
        before = time.time()
        there = livecheck.runtime.store.time()
        here = (before + time.time()) / 2
    except LiveCheckError as exc:
        return Finding(False, "clock", str(exc))
    skew = here - there
    if abs(skew) <= SKEW:
        return Finding(True, "clock", f"{abs(skew):.3f} s from Redis'")
    return Finding(
        False,
        "clock",
        f"this machine is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} Redis",
        "synchronise both with NTP",
    )


def check_http(livecheck: LiveCheck) -> Finding:
    """Whether tests cross HTTP, and where to."""
    if not livecheck.settings.secret_key:
        mend = "set livecheck_secret_key, the same in every service, if they are to"
        return Finding(True, "http", "no secret_key, so no test is sent or accepted over HTTP", mend)
    hosts = ", ".join(livecheck.settings.http_hosts) or "no host, as http_hosts is empty"
    return Finding(True, "http", f"tests are signed, and carried to {hosts}")


def check_tally(livecheck: LiveCheck) -> Finding:
    """What all processes dropped and ignored in the last day."""
    try:
        tallied = livecheck.runtime.store.counters.read()
    except LiveCheckError as exc:
        return Finding(False, "outbox", str(exc))
    if not tallied.counts:
        return Finding(True, "outbox", "nothing dropped or ignored in the last day")
    counted = ", ".join(f"{reason} {count}" for reason, count in sorted(tallied.counts.items()))
    mend = "the log of the processes says why; docs/production-safety.md explains the words"
    return Finding(True, "outbox", f"since {console.age(tallied.age)}: {counted}", mend)


def ask_workers(livecheck: LiveCheck) -> list[Worker]:
    """What the workers on the broker say of themselves; those that are too busy to answer are missing.

    Celery's own ``inspect`` knows workers by their names, which two on one machine share unless they were given others.
    """

    def ask(command: str) -> Iterator[tuple[str, Any]]:
        replies = livecheck.app.control.broadcast(command, reply=True, timeout=REPLY_TIME, connection=connection)
        return (answer for reply in replies or () for answer in reply.items())

    with _connection(livecheck) as connection:
        queues = list(ask("active_queues"))
        pools: dict[str, set[str]] = {}
        for name, stats in ask("stats") if queues else ():
            pools.setdefault(name, set()).add(str(stats.get("pool", {}).get("implementation", "")))
    # Of two that share a name, nobody knows which is which.
    return [
        Worker(name, frozenset(each["name"] for each in consumed), next(iter(known)) if len(known) == 1 else "")
        for name, consumed in queues
        for known in [pools.get(name, set())]
    ]


def within(limit: float, function: Callable[[], T]) -> T:
    """What ``function`` returns, or raises, if it is done within ``limit`` seconds; it is left behind otherwise.

    Raises:
        TimeoutError: it is not.
    """
    done: queue.SimpleQueue[tuple[T | None, Exception | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            done.put((function(), None))
        except Exception as exc:  # noqa: BLE001 - raised again in the caller
            done.put((None, exc))

    threading.Thread(target=work, daemon=True).start()
    try:
        result, error = done.get(timeout=limit)
    except queue.Empty:
        raise TimeoutError(f"silent for {limit:g} s") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value] # without an error there is one


def _connection(livecheck: LiveCheck) -> Any:
    return livecheck.app.connection_for_write(livecheck.settings.broker_url)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__


def commands_for(livecheck: LiveCheck, name: str | None) -> Commands:
    """The commands that start what is missing; ``name`` is what -A named."""
    if livecheck.app is default_app():
        module = (name or "livecheck_celery").partition(":")[0]
        cases = f"LIVECHECK_CASES={module} " if module != "livecheck_celery" else ""
        celery = f"{cases}celery -A livecheck_celery"
        return Commands(f"{celery} worker", f"{celery} beat")
    settings = livecheck.settings
    celery = f"celery -A {name}"
    queues = f"-Q {settings.queue},{settings.schedule_queue} -P threads -c {settings.test_concurrency}"
    return Commands(f"{celery} worker {queues}", f"{celery} beat")
