"""``override``: override settings of a case, in every process."""

from __future__ import annotations

import getpass
import socket
from datetime import UTC, datetime
from typing import Any

import click

from livecheck_celery.cli import console
from livecheck_celery.cli.discovery import find_livechecks
from livecheck_celery.cli.errors import CliError
from livecheck_celery.cli.known_cases import complete_case, full_case_name, known_cases
from livecheck_celery.config import CaseSettings
from livecheck_celery.store import Store
from livecheck_celery.utils.durations import seconds


@click.command()
@click.argument("case_name", metavar="CASE", shell_complete=complete_case)
@click.option("--active/--inactive", default=None, help="Enable or disable the case: its triggers and its tests.")
@click.option("--probability", type=float, metavar="P", help="Share of real requests to test, from 0 to 1.")
@click.option("--until", metavar="WHEN", help="Restore the declared values then: 2h, or 2026-11-30T18:00 (UTC).")
@click.option("--reason", default="", help="Why; shown by status and cases.")
@click.option("--by", help="Who; default: your user name and this host.")
@click.option("--clear", is_flag=True, help="Remove all overrides of the case.")
@click.option(
    "--sign-again", is_flag=True, help="Sign the overrides with the first secret_key, before you remove an older one."
)
@click.pass_context
def override(
    ctx: click.Context,
    *,
    case_name: str,
    active: bool | None,
    probability: float | None,
    until: str | None,
    reason: str,
    by: str | None,
    clear: bool,
    sign_again: bool,
) -> None:
    r"""Override settings of a case, in every process within 5 seconds.

    CASE is the full name of the case, or its last part. An earlier override of another option stays. An override is
    stored in Redis: it survives restarts, until --clear or the end given with --until. status and cases show it, with
    who set it and why.

    \b
    Exit codes:
      0  the override was stored or removed
      2  invalid arguments, or Redis did not answer

    \b
    Examples:
      livecheck -A shop override test_order --probability 0.01
      livecheck -A shop override test_order --inactive --until 2h --reason outage
      livecheck -A shop override test_order --clear
      livecheck -A shop override test_order --sign-again
    """
    options = {"active": active, "probability": probability}
    overrides: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if bool(overrides) + clear + sign_again != 1:
        raise CliError(
            "give --active, --inactive or --probability, or else --clear or --sign-again",
            f"`{ctx.command_path} --help` lists arguments and options",
        )
    known = known_cases(find_livechecks(ctx))
    name = full_case_name(case_name, list(known), otherwise="`livecheck cases` lists all cases")
    CaseSettings.resolve(f"case {name}", (), overrides)
    store = known[name].store
    if sign_again:
        if not store.settings.secret_key:
            raise CliError("there is no secret_key", "set livecheck_secret_key; see docs/following.md#trust")
        options_signed = ", ".join(store.registry.sign_again(name)) or "no override"
        console.line(f"{name}: signed with the first secret_key: {options_signed}")
        return
    store.registry.override(
        name,
        overrides,
        merge=True,
        by=author() if by is None else by,
        reason=reason,
        expires_in=None if until is None else _seconds_until(until, store),
    )
    changed = ", ".join(f"{option} is {value}" for option, value in overrides.items()) or "override removed"
    console.line(f"{name}: {changed}; takes effect in every process within 5 s")
    kept = {each: known[name].settings[each] for each in known[name].settings.get("overridden", ()) if not clear}
    if others := [f"{each} is {value}" for each, value in kept.items() if each not in overrides]:
        console.line(f"{name}: still overridden: {', '.join(others)}")


def author() -> str:
    """Return the user and the host of this process."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError, ImportError):  # an account without a name, as in some containers
        return socket.gethostname()


def _seconds_until(text: str, store: Store) -> float:
    """Parse a duration, or a time in UTC unless it has another zone, by Redis' clock.

    Raises:
        CliError: the text is neither, or is not in the future.
        RedisUnavailable: Redis did not answer.
    """
    left: Any = seconds(text)
    try:
        if isinstance(left, str):
            at = datetime.fromisoformat(text)
            left = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - store.time()
    except ValueError:
        left = 0.0
    if not 0 < left < float("inf"):
        raise CliError(
            f"--until {text!r} is not in the future", "give a duration such as 2h, or 2026-11-30T18:00 (UTC)"
        )
    return float(left)
