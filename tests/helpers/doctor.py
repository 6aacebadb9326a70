"""``livecheck doctor`` in this process, and what it reads."""

from __future__ import annotations

from click.testing import Result

from livecheck_celery import cli
from livecheck_celery.cli.celery_commands import Commands, Program
from livecheck_celery.store.liveness import RunningProcess
from tests.helpers.cli_runner import invoke

COMMANDS = Commands(Program("shop", ("worker",)), Program("shop", ("beat",)))
QUEUES = ("livecheck", "livecheck.schedule")


def worker(*queues: str, pool: str = "thread", age: float = 3.0) -> RunningProcess:
    """Build the sign of life of a worker that consumes ``queues``, renewed ``age`` seconds ago."""
    return RunningProcess("id", "worker", "celery@one", "host", 7, queues=queues, pool=pool, age=age)


def run() -> Result:
    """Run the command for the module ``shop_app``."""
    return invoke(cli.livecheck, ("-A", "shop_app", "doctor"))


def lines(result: Result) -> dict[str, list[str]]:
    """Return the output lines by subject."""
    found: dict[str, list[str]] = {}
    for line in result.stdout.splitlines():
        verdict, what, text = line.split("  ", 1)[0], *line[7:].split("  ", 1)
        found.setdefault(what.strip(), []).append(f"{verdict.strip()}: {text.strip()}")
    return found
