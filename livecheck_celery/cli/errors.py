"""Errors of the command line: one line, a hint, and exit code 2."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import click

from livecheck_celery.errors import BrokerUnavailable, DuplicateTest, LiveCheckError, RedisUnavailable
from livecheck_celery.utils.sanitize import sanitize

_DOCTOR: Final = "`livecheck doctor` checks Redis, the broker, the workers and beat"


class CliError(click.ClickException):
    """Invalid input, or a server that does not answer.

    Args:
        message: what happened; printed on one line.
        hint: how to fix it; printed on a second line unless empty.
    """

    exit_code = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(sanitize(" ".join(message.split())))
        self.hint = sanitize(hint)

    def show(self, file: Any = None) -> None:  # noqa: ARG002 - click's signature
        """Print the message and the hint to standard error."""
        is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        click.secho(f"Error: {self.message}", err=True, fg="red", color=False if is_plain else None)
        if self.hint:
            click.echo(f"Hint: {self.hint}", err=True)


@contextmanager
def readable_errors() -> Iterator[None]:
    """Convert click's usage errors and LiveCheck's errors to a CliError.

    Raises:
        CliError: the block raised one of these errors.
    """
    try:
        yield
    except click.UsageError as exc:
        raise _usage_error(exc) from None
    except LiveCheckError as exc:
        raise CliError(str(exc), _hint(exc)) from None


def unknown_name(kind: str, name: str, names: Iterable[str], *, otherwise: str = "") -> CliError:
    """Return the error for an unknown name, with the most similar of ``names`` as hint, or ``otherwise``."""
    spellings = {spelling: full for full in names for spelling in (full.rpartition(".")[2], full)}
    similar = difflib.get_close_matches(name, spellings, n=1)
    return CliError(f"unknown {kind} {name!r}", f"did you mean {spellings[similar[0]]}?" if similar else otherwise)


def _hint(error: LiveCheckError) -> str:
    if isinstance(error, BrokerUnavailable) and error.test is not None:
        return "`livecheck reports` shows its verdict; `livecheck doctor` checks the broker"
    if isinstance(error, RedisUnavailable | BrokerUnavailable):
        return _DOCTOR
    if isinstance(error, DuplicateTest):
        return "choose another --id, or wait for the verdict of that test"
    return ""


def _usage_error(error: click.UsageError) -> CliError:
    command = error.ctx.command_path if error.ctx else "livecheck"
    if isinstance(error, click.NoSuchOption) and error.option_name in {"-A", "--app"}:
        program, _, rest = command.partition(" ")
        option = error.option_name
        return CliError(f"{option} must be given before the command", f"{program} {option} MODULE {rest}")
    return CliError(error.format_message(), f"`{command} --help` lists arguments and options")
