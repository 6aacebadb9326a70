"""``cases``: the settings of each case."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import click
from rich.text import Text

from livecheck_celery.cli import console
from livecheck_celery.cli.discovery import find_livechecks
from livecheck_celery.cli.known_cases import KnownCase, known_cases, override_lines, undeclared_line
from livecheck_celery.cli.status import NO_CASES
from livecheck_celery.utils.sanitize import sanitize


@click.command()
@click.pass_context
def cases(ctx: click.Context) -> None:
    r"""List the cases with their settings and signals.

    Includes the cases that workers have registered in Redis and those declared in the module given with -A. Durations
    are in seconds. Signals are in the order of their declaration. A setting changed with `override` is marked
    (overridden), with who changed it, why and until when. A case that no running worker declares is marked, too.

    \b
    Exit codes:
      0  the cases were listed
      2  invalid arguments, or Redis did not answer

    \b
    Examples:
      livecheck -A shop cases
      celery -A shop livecheck cases
    """
    known = known_cases(find_livechecks(ctx))
    if not known:
        console.line(NO_CASES)
    console.all_lines(chain.from_iterable(_lines(name, case) for name, case in known.items()))


def _lines(name: str, case: KnownCase) -> Iterator[tuple[str | Text, ...]]:
    yield (Text(sanitize(name), style="bold"),)
    shown = {**case.settings, "signals": ", ".join(case.settings.get("signals", ())) or "none"}
    shown.pop("name", None)
    for key, value in shown.pop("sources", {}).items():
        shown[f"{key} from"] = " ".join(value)
    for key in shown.pop("overridden", ()):
        shown[key] = f"{shown[key]} (overridden)"
    for remark in filter(None, [undeclared_line(name, case), *override_lines(name, case)]):
        yield (f"  {remark.removeprefix(f'{name}: ')}",)
    width = max(len(key) for key in shown)
    for key, value in shown.items():
        yield (f"  {key:<{width}}  ", "-" if value is None else str(value))
