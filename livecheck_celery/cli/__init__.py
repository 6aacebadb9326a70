"""The command line: ``livecheck -A module ...``, and ``celery -A module livecheck ...``.

Every ``celery`` command on a machine with LiveCheck installed imports this module. So it imports nothing but click;
commands are imported when they are called.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click

__all__ = ["celery_command", "livecheck", "main"]

#: Each is a module of this package with a click command of the same name.
COMMANDS: Final = ("status", "reports", "cases", "trigger", "override", "forget", "doctor", "secret", "dev", "demo")

HELP: Final = """Inspect and control the tests that keep running inside a live system.

status, reports, cases, override and forget also work on cases that only the workers have imported. trigger needs the
module that declares the case.

\b
Exit codes:
  0  success
  1  a negative result, such as another verdict than PASS; see COMMAND --help
  2  invalid arguments, or Redis or the broker did not answer

\b
Examples:
  livecheck demo
  livecheck -A shop status
  livecheck -A shop trigger test_order 42 -k side=sell --wait
  livecheck -A shop doctor
"""

APP_HELP: Final = (
    "Module, or module:attribute, that defines the Celery app or the LiveCheck instance. "
    "Default: LiveCheck's own app, configured by LIVECHECK_* environment variables and celeryconfig.py."
)


class CommandGroup(click.Group):
    """A group that imports commands on demand, and reports errors with one line, a hint and exit code 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of the commands, the most used first."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """Import a command; return None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"{__name__}.{cmd_name}"), cmd_name)
        # Docstrings of commands are raw strings, and click expects the character \b before lines it must not wrap.
        command.help = (command.help or "").replace("\\b\n", "\b\n")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a command as click does; the error for an unknown name suggests a similar one.

        Raises:
            CliError: the command is unknown.
        """
        from livecheck_celery.cli.errors import unknown_name  # noqa: PLC0415 - celery imports this module every time

        if args and args[0] not in COMMANDS and not ctx.resilient_parsing:
            raise unknown_name("command", args[0], COMMANDS, otherwise=f"commands: {', '.join(COMMANDS)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command.

        Raises:
            CliError: the command failed with a usage error or a LiveCheck error.
        """
        from livecheck_celery.cli.errors import readable_errors  # noqa: PLC0415 - as above
        from livecheck_celery.cli.streams import make_printable  # noqa: PLC0415 - as above

        make_printable(sys.stdout, sys.stderr)
        if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            ctx.color = False
        with readable_errors():
            return super().invoke(ctx)


@click.group(cls=CommandGroup, name="livecheck", help=HELP)
@click.option("-A", "--app", metavar="MODULE", help=APP_HELP)
@click.version_option(package_name="livecheck-celery", prog_name="livecheck", message="%(prog)s %(version)s")
def livecheck(app: str | None) -> None:
    """Define the options that all commands share and read from the context."""


@click.group(cls=CommandGroup, name="livecheck", help=HELP.replace("livecheck -A shop", "celery -A shop livecheck"))
@click.version_option(package_name="livecheck-celery", prog_name="livecheck", message="%(prog)s %(version)s")
def celery_command() -> None:
    """Provide the same commands to ``celery``, which has its own ``-A``."""


def main() -> None:
    """Run the console script, with the current directory on ``sys.path``, as ``celery`` does."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    livecheck(prog_name="livecheck")
