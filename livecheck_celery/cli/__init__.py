"""The command line: ``livecheck -A module ...``, and ``celery -A module livecheck ...``.

Every ``celery`` command of a machine with LiveCheck installed imports this module, so it imports nothing but click:
the commands are loaded when they are called.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click

__all__ = ["celery_command", "livecheck", "main"]

#: Each is a module of this package that holds a click command of the same name.
COMMANDS: Final = ("status", "reports", "cases", "trigger", "override", "doctor", "dev", "demo")

HELP: Final = """Tests that keep running inside a live system: see how they do, and start one.

\b
Examples:
  livecheck demo
  livecheck -A shop status
  livecheck -A shop trigger test_order 42 -k side=sell --wait
  livecheck -A shop doctor
"""

APP_HELP: Final = (
    "Where the Celery app or the LiveCheck is: a module, or module:attribute. "
    "Without it: LiveCheck's own app, set up by LIVECHECK_* in the environment and by celeryconfig.py."
)


class CommandGroup(click.Group):
    """Loads its commands when they are named, and ends their errors with one line, a hint and exit code 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Names of the commands, in the order people need them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """The command of that name; None when there is none."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"{__name__}.{cmd_name}"), cmd_name)
        # Their docstrings are raw text; click's mark for lines to keep as they are is the character itself.
        command.help = (command.help or "").replace("\\b\n", "\b\n")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click, and with a suggestion when there is no such command."""
        from livecheck_celery.cli.support import unknown_name  # noqa: PLC0415 - celery imports this module every time

        if args and args[0] not in COMMANDS and not ctx.resilient_parsing:
            raise unknown_name("command", args[0], COMMANDS, otherwise=f"commands are: {', '.join(COMMANDS)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, errors made readable."""
        from livecheck_celery.cli.support import readable_errors  # noqa: PLC0415 - as above

        with readable_errors():
            return super().invoke(ctx)


@click.group(cls=CommandGroup, name="livecheck", help=HELP)
@click.option("-A", "--app", metavar="MODULE", help=APP_HELP)
@click.version_option(package_name="livecheck-celery", prog_name="livecheck", message="%(prog)s %(version)s")
def livecheck(app: str | None) -> None:
    """Hold the options all commands share; they read them from the context."""


@click.group(cls=CommandGroup, name="livecheck", help=HELP.replace("livecheck -A shop", "celery -A shop livecheck"))
@click.version_option(package_name="livecheck-celery", prog_name="livecheck", message="%(prog)s %(version)s")
def celery_command() -> None:
    """Hold the same commands for ``celery``, whose own -A names the app."""


def main() -> None:
    """Run the console script; modules in the current directory can be named, as with ``celery``."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    livecheck(prog_name="livecheck")
