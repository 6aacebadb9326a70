"""Checks of Redis, and of its records about beat, the workers and the outboxes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from livecheck_celery.base_livecheck import BaseLiveCheck
from livecheck_celery.cli import console
from livecheck_celery.cli.celery_commands import Commands
from livecheck_celery.cli.doctor.findings import Finding, warning
from livecheck_celery.cli.liveness import is_silent
from livecheck_celery.config import Settings
from livecheck_celery.errors import LiveCheckError
from livecheck_celery.models import OLD_MARK, UNACKNOWLEDGED
from livecheck_celery.store.counters import FOREIGN, IGNORED, REFUSED, RESENT, UNTRUSTED, ServiceCount
from livecheck_celery.store.unreadable import UNREADABLE
from livecheck_celery.utils.secrets import printed_url

#: Maximum seconds between the clocks of this machine, which sets the expiry of tests, and of Redis.
MAX_CLOCK_DIFFERENCE: Final = 2.0

#: Seconds since the last count after which a count is no warning: what caused it is gone, or seldom.
RECENT: Final = 3600.0

#: How to fix each reason for which headers are ignored.
HEADER_FIXES: Final = {
    "forged": "somebody changes LiveCheck's headers on the way; see docs/following.md#trust",
    "unknown key": "another service signs with a key that this one does not have: compare the ids of the keys that "
    "doctor shows in both, and set the same livecheck_secret_key in all; see docs/following.md#trust",
    "earlier version": "the sender runs an earlier version of LiveCheck, or somebody else sends LiveCheck's headers: "
    "upgrade all services; see docs/running.md#upgrade-livecheck",
    "no secret_key": "set livecheck_secret_key in this service, as in the others",
    "unsigned": "a proxy removes LiveCheck-Test-Signature, or somebody else sends LiveCheck's headers",
    "audience": "the headers were signed for another host: add every name by which other services call this one to "
    "livecheck_audience; see docs/following.md#trust",
    "future": "synchronise the clocks of both services with NTP",
    "replayed": "somebody sends captured headers again, or a service copies the headers of one request to over 100 "
    "others; see docs/following.md#trust",
    "expired": "synchronise the clocks of both services with NTP; a test also expires after its test_expires",
}
RESENT_FIX: Final = (
    "if no worker was killed and the broker was available, another program consumes the queue: stop that program, or "
    "set livecheck_queue"
)
REFUSED_FIX: Final = (
    "if a case of yours declares that signal, add it to livecheck_allow_sources of that service; else somebody wrote "
    "it to Redis; see docs/following.md#limit-automatic-signals"
)
_UNTRUSTED: Final = {"unsigned": "it has no signature", "forged": "no key of the service has signed it"}
UNTRUSTED_FIX: Final = (
    "set the same livecheck_secret_key in the workers, and where you run `livecheck override`, and do that again; if "
    "nobody of you wrote it, see docs/following.md#limit-automatic-signals"
)
OLD_MARK_FIX: Final = "let fake requests end sooner, or raise livecheck_max_hop_age in all services"
HOP_FIX: Final = (
    "install LiveCheck's middleware in it, set the same livecheck_secret_key, and let proxies pass LiveCheck-* "
    "headers; or remove it from http_hosts; see docs/following.md#trust"
)


def check_redis(livecheck: BaseLiveCheck) -> Finding:
    """Check that Redis answers and is new enough."""
    try:
        livecheck.runtime.store.check()
        server = livecheck.runtime.store.server_info("server")
    except LiveCheckError as exc:
        return Finding(False, "redis", str(exc))
    name = server.get("server_name", "redis").capitalize()
    version = server.get(f"{name.lower()}_version") or server.get("redis_version", "?")
    return Finding(True, "redis", f"{name} {version} at {printed_url(livecheck.settings.redis_url)}")


def check_storage(livecheck: BaseLiveCheck) -> Iterator[Finding]:
    """Check whether Redis may lose data, or refuse connections."""
    try:
        memory, persistence, clients = map(livecheck.runtime.store.server_info, ("memory", "persistence", "clients"))
    except LiveCheckError as exc:
        yield Finding(False, "storage", str(exc))
        return
    yield from judge_storage(memory, persistence)
    yield from judge_reports(memory, livecheck.settings, len(livecheck.cases))
    yield from judge_clients(clients, livecheck.settings.redis_max_connections)


def judge_storage(memory: Mapping[str, Any], persistence: Mapping[str, Any]) -> Iterator[Finding]:
    """Judge two sections of Redis' INFO; fields that a server does not report are not judged."""
    policy = str(memory.get("maxmemory_policy", "noeviction"))
    limit = int(memory.get("maxmemory", 0))
    if policy != "noeviction":
        found = f"maxmemory-policy is {policy}"
        if limit:
            found += f": above {limit / 2**20:.0f} MiB, Redis evicts running tests and counters"
            yield Finding(False, "storage", found, "set maxmemory-policy noeviction, or use a separate Redis")
        else:
            found += ", which takes effect once maxmemory is set"
            yield warning("storage", found, "set maxmemory-policy noeviction")
    if persistence.get("aof_enabled", 1) in (0, "0"):
        found = "appendonly is off: a restart of Redis loses tests and counters"
        yield warning("storage", found, "set appendonly yes; see docs/servers.md")


def judge_reports(memory: Mapping[str, Any], settings: Settings, cases: int) -> Iterator[Finding]:
    """Judge whether the reports of so many cases leave half of Redis' memory for tests; ``memory`` is as above."""
    limit = int(memory.get("maxmemory", 0))
    most = min(cases * settings.max_report_bytes, settings.max_all_report_bytes) if settings.send_reports else 0
    if limit and most > limit / 2:
        found = f"reports of {cases} cases can take {most / 2**20:.0f} MiB, and maxmemory is {limit / 2**20:.0f} MiB"
        yield warning("storage", found, "lower livecheck_max_all_report_bytes, or raise maxmemory of Redis")


def judge_clients(clients: Mapping[str, Any], per_process: int) -> Iterator[Finding]:
    """Judge whether Redis has connections left for one more process, or for two; ``clients`` is a section of INFO."""
    most, connected = int(clients.get("maxclients", 0)), int(clients.get("connected_clients", 0))
    if most and max(connected, per_process) + per_process > most:
        found = f"{connected} of {most} clients are connected, and one process of LiveCheck can use {per_process}"
        yield warning("clients", found, "raise maxclients of Redis, or lower livecheck_redis_max_connections")


def check_schedules(livecheck: BaseLiveCheck, commands: Commands) -> Iterator[Finding]:
    """Check that beat is alive, and that workers execute what it sends: fake requests, stall checks and recovery."""
    try:
        signs = livecheck.runtime.store.liveness.read()
    except LiveCheckError as exc:
        yield Finding(False, "beat", str(exc))
        return
    queue = livecheck.settings.schedule_queue
    for subject, age, action, fix in (
        ("beat", signs.beat, "seen", f"start beat: {commands.beat}"),
        ("schedules", signs.schedules, "executed", f"start beat, and a worker that consumes {queue}"),
    ):
        found = f"not {action} in the last 2 minutes" if age is None else f"last {action} {console.age(age)}"
        silent = is_silent(age)
        yield Finding(not silent, subject, found, fix if silent else "")


def check_clocks(livecheck: BaseLiveCheck) -> Iterator[Finding]:
    """Check that the clocks of this machine, and of those with workers and beats, agree with Redis'."""
    try:
        offset = livecheck.runtime.store.liveness.clock_offset()
        processes = livecheck.runtime.store.liveness.processes()
    except LiveCheckError as exc:
        yield Finding(False, "clock", str(exc))
        return
    if offset is None:
        yield warning("clock", "not measured: Redis answers too slowly", "run doctor again")
    else:
        yield judge_clock("this machine", offset)
    # Each LiveCheck of a process gives its own sign of life.
    for process in {(one.kind, one.name, one.host, one.pid): one for one in processes}.values():
        if process.clock_offset is not None and abs(process.clock_offset) > MAX_CLOCK_DIFFERENCE:
            yield judge_clock(f"{process.kind} {process.name} on {process.host}", process.clock_offset)


def judge_clock(whose: str, offset: float) -> Finding:
    """Judge a clock that is ``offset`` seconds ahead of Redis'."""
    if abs(offset) <= MAX_CLOCK_DIFFERENCE:
        return Finding(True, "clock", f"{whose} differs from Redis by {abs(offset):.3f} s")
    direction = "ahead of" if offset > 0 else "behind"
    found = f"{whose} is {console.duration(abs(offset))} {direction} Redis: tests and messages expire at the wrong time"
    return Finding(False, "clock", found, "synchronise both with NTP")


def check_counters(livecheck: BaseLiveCheck) -> Iterator[Finding]:
    """Report the items and headers that all processes dropped or ignored in the last day."""
    try:
        counted = livecheck.runtime.store.counters.read()
    except LiveCheckError as exc:
        yield Finding(False, "outbox", str(exc))
        return
    since = f"in the last {console.rounded(counted.age)}"
    for each in counted.services:
        yield from _of_service(each, since)
    named = {f"headers ignored: {each.detail}" for each in counted.services if each.what == IGNORED}
    if again := counted.counts.get(RESENT):
        found = f"{again} messages of tests were sent again {since}: no worker of LiveCheck had them"
        yield _counted("queue", found, RESENT_FIX, counted.ages[RESENT])
        named.add(RESENT)
    if foreign := counted.counts.get(FOREIGN):
        found = f"workers refused {foreign} messages of another environment on the broker {since}"
        fix = "give each environment its own livecheck_prefix: the queues are named after it"
        yield _counted("queue", found, fix, counted.ages[FOREIGN])
        named.add(FOREIGN)
    if skipped := counted.counts.get(UNREADABLE):
        found = f"processes skipped {skipped} values in Redis that LiveCheck did not write {since}"
        yield _counted("data", found, "their logs name the keys, also those that are gone", counted.ages[UNREADABLE])
        named.add(UNREADABLE)
    if counts := {reason: count for reason, count in counted.counts.items() if reason not in named}:
        listed = ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))
        fix = "the logs of the processes have details; docs/production-safety.md explains the reasons"
        yield _counted("outbox", f"{since}: {listed}", fix, min(counted.ages[reason] for reason in counts))
    else:
        yield Finding(
            True, "outbox", "nothing dropped in the last day" if named else "nothing dropped or ignored in the last day"
        )


def _of_service(each: ServiceCount, since: str) -> Iterator[Finding]:
    if each.what == IGNORED:
        found = f"{each.service} ignored the headers of {_requests(each.times)} {since} ({each.detail})"
        yield _counted("headers", found, HEADER_FIXES.get(each.detail, "see docs/following.md#trust"), each.age)
    elif each.what == UNACKNOWLEDGED:
        found = f"{each.detail} did not accept the tests in {_requests(each.times)} of {each.service} {since}"
        yield _counted("hop", found, HOP_FIX, each.age)
    elif each.what == REFUSED:
        found = f"{each.service} refuses to send an automatic signal for {each.detail}, as it does not allow it"
        yield _counted("sources", found, REFUSED_FIX, each.age)
    elif each.what == UNTRUSTED:
        reason, _, field = each.detail.partition(" ")
        found = f"{each.service} ignores {field} in Redis: {_UNTRUSTED.get(reason, reason)}"
        yield _counted("signed", found, UNTRUSTED_FIX, each.age)
    elif each.what == OLD_MARK:
        found = (
            f"{each.detail} took {_requests(each.times)} of {each.service} for real {since}: the fake request that "
            "caused them began over livecheck_max_hop_age before"
        )
        yield _counted("hop", found, OLD_MARK_FIX, each.age)


def _counted(subject: str, found: str, fix: str, age: float) -> Finding:
    """Return a warning about counts, the last of which is ``age`` seconds old; no warning if that is long ago."""
    found += f"; last {console.age(age)}"
    return warning(subject, found, fix) if age <= RECENT else Finding(True, subject, found)


def _requests(count: int) -> str:
    return "1 request" if count == 1 else f"{count} requests"
