"""``override``: override settings of a case, in every process."""

from __future__ import annotations

from typing import Any

import click

from livecheck_celery.cli import console
from livecheck_celery.cli.discovery import find_livechecks
from livecheck_celery.cli.errors import CliError
from livecheck_celery.cli.known_cases import full_case_name, known_cases
from livecheck_celery.config import CaseSettings


@click.command()
@click.argument("case_name", metavar="CASE")
@click.option("--active/--inactive", default=None, help="Enable or disable the case: its triggers and its tests.")
@click.option("--probability", type=float, metavar="P", help="Share of real requests to test, from 0 to 1.")
@click.option("--clear", is_flag=True, help="Remove the override.")
@click.pass_context
def override(
    ctx: click.Context, *, case_name: str, active: bool | None, probability: float | None, clear: bool
) -> None:
    r"""Override settings of a case, in every process within 5 seconds.

    CASE is the full name of the case, or its last part. The options replace an earlier override of the case. An
    override is stored in Redis: it survives restarts, until --clear.

    \b
    Exit codes:
      0  the override was stored or removed
      2  invalid arguments, or Redis did not answer

    \b
    Examples:
      livecheck -A shop override test_order --probability 0.01
      livecheck -A shop override test_order --inactive
      livecheck -A shop override test_order --clear
    """
    options = {"active": active, "probability": probability}
    overrides: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if bool(overrides) == clear:
        raise CliError(
            "give --active, --inactive or --probability, or else --clear",
            f"`{ctx.command_path} --help` lists arguments and options",
        )
    known = known_cases(find_livechecks(ctx))
    name = full_case_name(case_name, list(known), otherwise="`livecheck cases` lists all cases")
    CaseSettings.resolve(f"case {name}", (), overrides)
    known[name].store.registry.override(name, overrides)
    changed = ", ".join(f"{option} is {value}" for option, value in overrides.items()) or "override removed"
    console.line(f"{name}: {changed}; takes effect in every process within 5 s")
