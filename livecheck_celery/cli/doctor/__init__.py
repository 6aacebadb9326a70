"""``doctor``: check everything that tests need to run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Final

import click
from rich.text import Text

from livecheck_celery.base_livecheck import BaseLiveCheck
from livecheck_celery.cli import console
from livecheck_celery.cli.celery_commands import commands_for
from livecheck_celery.cli.discovery import app_name, distinct, find_livechecks
from livecheck_celery.cli.doctor.data import check_data
from livecheck_celery.cli.doctor.findings import Finding, warning
from livecheck_celery.cli.doctor.packages import check_packages
from livecheck_celery.cli.doctor.redis import check_clocks, check_counters, check_redis, check_schedules, check_storage
from livecheck_celery.cli.doctor.workers import check_app_broker, check_broker, check_limits, check_workers
from livecheck_celery.utils.signing import key_id

_STYLES: Final = {"ok": "green", "warn": "bold yellow", "error": "bold red"}
_NO_REDIS = "not checked: Redis is not available"


@click.command()
@click.pass_context
def doctor(ctx: click.Context) -> None:
    r"""Check everything that tests need to run.

    Prints one line per finding: ok, warn or error, what was checked, what was found, how to fix it. An error keeps
    tests from running, or makes their verdicts wrong. A warning does not, but needs attention, or a decision. Takes
    half a minute at most, even if a server does not answer. Counts are those of the last day.

    \b
    python -O  asserts are not disabled
    packages   known vulnerabilities of requests and idna
    redis      Redis answers, and is new enough
    storage    Redis does not evict data, and persists it
    clients    Redis has connections left
    broker     the Celery broker answers
    queue      a worker consumes each of the two queues
    worker     workers that run tests use threads, and run nothing else
    limits     no time limit of Celery is shorter than the tests
    beat       beat is alive
    schedules  workers execute what beat sends
    clock      the clocks of this machine, the workers, beat and Redis agree
    http       whether tests are sent and accepted over HTTP
    headers    services that ignored the headers of tests, and why
    hop        services that did not accept the tests that others sent them
    sources    automatic signals that services do not allow
    signed     overrides and sources in Redis that are not signed with secret_key
    outbox     what all processes dropped or ignored
    data       values in Redis that LiveCheck did not write

    \b
    Exit codes:
      0  no errors; there can be warnings
      1  at least one error
      2  invalid arguments, a wrong setting, or the module cannot be imported

    \b
    Examples:
      livecheck -A shop doctor
      celery -A shop livecheck doctor
    """
    errors = 0
    for finding in examine(ctx):
        errors += not finding.ok
        console.line(
            Text(f"{finding.level:<5}", style=_STYLES[finding.level]),
            f"  {finding.subject:<10}  {finding.found}",
            f"; {finding.fix}" if finding.fix else "",
        )
    ctx.exit(1 if errors else 0)


def examine(ctx: click.Context) -> Iterator[Finding]:
    """Run all checks; a check whose server is not available is reported as not checked.

    Raises:
        CliError: the module given with ``-A`` cannot be used.
    """
    yield check_optimization(sys.flags.optimize, os.environ.get("PYTHONOPTIMIZE", ""))
    yield from check_packages()
    livechecks = find_livechecks(ctx)
    for livecheck in distinct(livechecks, "redis_url", "prefix", "broker_url", "queue", "schedule_queue"):
        commands = commands_for(livecheck, app_name(ctx))
        redis = check_redis(livecheck)
        yield redis
        if redis.ok:
            yield from check_storage(livecheck)
        broker = check_broker(livecheck)
        yield broker
        yield from check_app_broker(livecheck)
        if broker.ok:
            yield from check_workers(livecheck, commands)
        else:
            queues = (livecheck.settings.queue, livecheck.settings.schedule_queue)
            yield from (Finding(False, "queue", f"{each}: not checked: the broker is not available") for each in queues)
        yield from check_limits(livecheck)
        if redis.ok:
            yield from check_schedules(livecheck, commands)
            yield from check_clocks(livecheck)
        else:
            yield from (Finding(False, subject, _NO_REDIS) for subject in ("beat", "schedules", "clock"))
        yield check_http(livecheck)
        if redis.ok:
            yield from check_counters(livecheck)
            yield from check_data(livecheck)


def check_optimization(level: int, variable: str) -> Finding:
    """Check that Python compiles ``assert`` statements.

    Args:
        level: ``sys.flags.optimize``.
        variable: the value of PYTHONOPTIMIZE.
    """
    if level or variable:
        found = "on: assert statements are disabled, so no test can fail"
        return Finding(False, "python -O", found, "unset PYTHONOPTIMIZE, and start Python without -O")
    return Finding(True, "python -O", "off")


def check_http(livecheck: BaseLiveCheck) -> Finding:
    """Report whether tests are sent and accepted over HTTP, and to which hosts they are sent."""
    if not livecheck.settings.secret_key:
        fix = "to follow tests over HTTP, set livecheck_secret_key to one key in every service; run: livecheck secret"
        return warning("http", "secret_key is not set: no test is sent or accepted over HTTP", fix)
    first, *others = map(key_id, livecheck.settings.secret_key)
    also = f", and accepted with {', '.join(others)} too" if others else ""
    hosts = ", ".join(livecheck.settings.http_hosts) or "no host, as http_hosts is empty"
    return Finding(True, "http", f"tests are signed with key {first}{also}, and sent to {hosts}")
