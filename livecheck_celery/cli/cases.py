"""``cases``: what is declared, with which settings."""

from __future__ import annotations

import click
from rich.text import Text

from livecheck_celery.cli import console
from livecheck_celery.cli.status import NO_CASES
from livecheck_celery.cli.support import find_livechecks, known_cases


@click.command()
@click.pass_context
def cases(ctx: click.Context) -> None:
    """List the cases, with their signals in order and their settings; durations are in seconds.

    Both those that the workers have registered and those declared by what -A names.

    \b
    Examples:
      livecheck -A shop cases
      celery -A shop livecheck cases
    """
    known = {name: settings for each in find_livechecks(ctx) for name, settings in known_cases(each).items()}
    if not known:
        console.line(NO_CASES)
    for name, settings in known.items():
        console.line(Text(name, style="bold"))
        shown = {**settings, "signals": ", ".join(settings.get("signals", ())) or "none"}
        width = max(len(key) for key in shown)
        for key, value in shown.items():
            console.line(f"  {key:<{width}}  ", "-" if value is None else str(value))
