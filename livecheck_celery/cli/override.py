"""``override``: change a case at run time, everywhere."""

from __future__ import annotations

from typing import Any

import click

from livecheck_celery.cli import console
from livecheck_celery.cli.support import CliError, case_called, find_livechecks, known_cases
from livecheck_celery.config import CaseSettings


@click.command()
@click.argument("case_name", metavar="CASE")
@click.option("--active/--inactive", default=None, help="Whether requests trigger tests of it, and workers run them.")
@click.option("--probability", type=float, metavar="P", help="Share of the requests that are tested, 0 to 1.")
@click.option("--clear", is_flag=True, help="What is declared holds again.")
@click.pass_context
def override(
    ctx: click.Context, *, case_name: str, active: bool | None, probability: float | None, clear: bool
) -> None:
    r"""Change a case at run time, in every process, within 5 seconds.

    CASE is the case's full name, or its last part. What is given here takes the place of what was overridden before;
    it holds until it is cleared, also for processes that start later.

    \b
    Examples:
      livecheck -A shop override test_order --probability 0.01
      livecheck -A shop override test_order --inactive
      livecheck -A shop override test_order --clear
    """
    given = {"active": active, "probability": probability}
    wanted: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if bool(wanted) == clear:
        raise CliError("give --active, --inactive or --probability, or else --clear", "`override --help` explains it")
    known = known_cases(find_livechecks(ctx))
    name = case_called(case_name, list(known), otherwise="`cases` lists them")
    CaseSettings.resolve(f"case {name}", (), wanted)
    known[name].store.registry.override(name, wanted)
    now = ", ".join(f"{option} is {value}" for option, value in wanted.items()) or "what is declared holds again"
    console.line(f"{name}: {now}, in every process within 5 s")
